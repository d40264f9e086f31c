"""What Sphinx, docutils and the themes write otherwise than readers by ear, or rules for them, expect; mended in a page's HTML."""

import re

SIGNATURE = re.compile(r'<dt class="sig.*?</dt>', re.DOTALL)
EMPTY_HEAD = re.compile(r'(<th class="head[^>]*>)(?:<p></p>)?(</th>)')
ALIAS = re.compile(r"<p>Alias for field number \d+</p>\n?")
"""What Python says of a field of a named tuple that has no words of its own."""


SCROLLS = re.compile(r'<figure ([^>]*class="[^"]*\bscrolls\b)')
"""A picture that is wider than a phone: what scrolls is a stop of the tab key."""


def signature(found: re.Match) -> str:
    """A signature of several lines: its parameters are no definitions, and Sphinx lists them as such."""
    text = re.sub(r"<dl>|<dl class=[^>]*>", '<span class="sig-lines">', found[0])
    return text.replace("</dl>", "</span>").replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")  # fmt: skip


def mend(body: str) -> str:
    """The HTML of a page, mended."""
    body = ALIAS.sub("", SIGNATURE.sub(signature, body))
    body = SCROLLS.sub(r'<figure tabindex="0" \1', body)
    body = EMPTY_HEAD.sub(r'\1<span class="visually-hidden">value</span>\2', body)
    return body.replace('role="doc-biblioentry"', 'role="listitem"')  # the former is deprecated


def mend_page(app, pagename, templatename, context, doctree):
    """Of every page that has a body."""
    if context.get("body"):
        context["body"] = mend(context["body"])
