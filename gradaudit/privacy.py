"""What stays on this machine when an audit leaves it: the folders in its texts."""

import re


def without_folders(text: str) -> str:
    """`text` in which of an absolute path only the last part is left."""
    text = re.sub(r'(?<=File ")[^"]*[/\\]', "", text)
    text = re.sub(r"""(?<=['"])(?:/|[A-Za-z]:\\)[^'"\n]*[/\\]""", "", text)  # in quotes, with spaces too
    return re.sub(r"(?<![\w.:/\\])(?:/|[A-Za-z]:\\)(?:[^\s'\"<>|:/\\]+[/\\])+", "", text)
