"""`mesoforge report`: what came of a study, as one HTML file that needs nothing else. Read `page.py` first."""
