"""Sphinx builds these pages: `make docs`. Warnings are errors; nothing comes from the network, formulas included."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "mesoforge"
copyright = "the mesoforge authors, Apache-2.0"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["build"]
html_theme = "furo"
html_title = "mesoforge"
html_show_sphinx = False
html_copy_source = False


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    formula = tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math" style="overflow: auto hidden; margin: 1em 0">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """MathML, which browsers draw by themselves: MathJax would be fetched from the network by every reader."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


html_math_renderer = "mathml"
