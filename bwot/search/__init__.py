"""A drawing asks, models answer: an index in a folder, exact neighbours, a contact sheet. Imports without torch.

For example, with a folder that ``bwot index`` made::

    gallery = read_index("chairs.index")
    drawing = read_drawing("chair.png")
    found = gallery.find(drawing, top=5)
    write_sheet("answers.png", [answered("chair", drawing, gallery, found)])
"""

from bwot.search.files import BadIndexError, Content, Query, read_index, refuse_taken, write_index
from bwot.search.gallery import Found, Gallery, nearest
from bwot.search.sheets import Row, answered, draw_sheet, write_sheet

__all__ = [
    "BadIndexError", "Content", "Found", "Gallery", "Query", "Row", "answered", "draw_sheet", "nearest", "read_index", "refuse_taken",
    "write_index", "write_sheet",
]  # fmt: skip
