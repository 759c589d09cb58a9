"""The science: micrographs, models, sampling, guidance, descriptors, properties. Read `engine/design.py` first."""
