"""The XML of one picture's annotation, in whatever encoding, without what no annotation needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from graftwork.errors import DataError
from graftwork.files.text import decode_text, encoding_of_mark, encoding_of_zeros, save_as_utf8

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LIMIT = 16 << 20  # bytes; the XML of one image
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\bencoding\s*=\s*["']([A-Za-z][\w.-]*)["']""")


def _text_of(data: bytes) -> str:
    """An XML document's text: in the encoding of its byte order mark, or else in the one that it says it is in.

    A document that was saved anew as UTF-16 says UTF-8 all the same, and of others that it may say (GBK, Shift JIS), the parser
    knows the fewest.
    """
    if encoding_of_mark(data) or encoding_of_zeros(data[:4096]):
        return decode_text(data, "replace")  # what is cut off is damaged XML
    found = _ENCODING.match(data)
    said = found[1].decode("ascii").lower() if found else "utf-8"
    return data.decode(
        "utf-8" if said.startswith(("utf-16", "unicode")) else said
    )  # .NET says utf-16 of what it has as text


def parse_xml(file: Path) -> Element:
    """The root of an XML file. A document type or entities are refused: no annotation needs them, and bombs do.

    Raises:
        DataError: the file is damaged, too large, or declares a document type; `what` says so without the file's name.
    """
    from xml.etree.ElementTree import TreeBuilder

    try:
        if file.stat().st_size > _LIMIT:
            raise DataError(f"is larger than {_LIMIT >> 20} MB", where=str(file))
        text = _text_of(file.read_bytes())
    except UnicodeDecodeError:
        raise DataError(
            "is not UTF-8 text, or not in the encoding that it says", where=str(file), hint=save_as_utf8(file)
        ) from None
    except (OSError, LookupError) as error:  # an unknown encoding is a LookupError
        raise DataError(f"cannot be read ({error})", where=str(file)) from None
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8", "}")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise DataError("declares a document type, which is refused", where=str(file))

    def check(_: str, system: str | None, public: str | None, inside: bool) -> None:
        if system or public or inside:  # a name alone declares nothing
            refuse()

    parser.StartDoctypeDeclHandler = check
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        raise DataError(f"is damaged XML ({error})", where=str(file)) from None
    root = builder.close()
    if root.find("object") is None and root.tag != "annotation":
        raise DataError(f"is XML, but no annotation (its root is <{root.tag[:40]}>)", where=str(file))
    return root
