"""Workbooks that only hold what is put into them: no text is taken for a link, a formula or a number."""

from __future__ import annotations

from typing import Any, BinaryIO

import xlsxwriter


def workbook(handle: BinaryIO, title: str) -> tuple[Any, Any]:
    """(a workbook that is written row after row, the format of its headings)"""
    book = xlsxwriter.Workbook(
        handle,
        {
            "constant_memory": True,
            "strings_to_urls": False,
            "strings_to_formulas": False,
            "strings_to_numbers": False,
        },
    )
    book.set_properties({"title": title})
    return book, book.add_format({"bold": True, "bottom": 1})
