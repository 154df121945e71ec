"""Pages: one self-contained HTML file about a run, or about several side by side. Knows no domain."""

from graftwork.report.compare import compare
from graftwork.report.render import render
from graftwork.report.view import RunView, load_view
from graftwork.report.write import write_report

__all__ = ["RunView", "compare", "load_view", "render", "write_report"]
