"""Tables in Markdown."""


def cells(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def table(title, head, lines):
    if not lines:
        return ""
    return "\n".join([f"**{title}**\n", cells(*head), "|---" + "|---:" * (len(head) - 1) + "|", *lines])  # fmt: skip


def short(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
