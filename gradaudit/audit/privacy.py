"""What stays on this machine when an audit leaves it: host, user, command line and the folders in its texts."""

import re

import msgspec

from gradaudit.audit.result import Audit
from gradaudit.findings import AnyResult, Failed, NotApplicable, Skipped
from gradaudit.schema import PrivateFacts


def without_folders(text: str) -> str:
    """`text` in which of an absolute path only the last part is left."""
    text = re.sub(r'(?<=File ")[^"]*[/\\]', "", text)
    text = re.sub(r"""(?<=['"])(?:/|[A-Za-z]:\\)[^'"\n]*[/\\]""", "", text)  # in quotes, with spaces too
    return re.sub(r"(?<![\w.:/\\])(?:/|[A-Za-z]:\\)(?:[^\s'\"<>|:/\\]+[/\\])+", "", text)


def without_host(audit: Audit) -> Audit:
    """The audit without host name, user name, command line and the folders of this machine."""
    disabled = [msgspec.structs.replace(fault, reason=without_folders(fault.reason)) for fault in audit.meta.disabled]
    return msgspec.structs.replace(
        audit,
        meta=msgspec.structs.replace(audit.meta, private=PrivateFacts(), pid=0, disabled=disabled),
        problems=[without_folders(problem) for problem in audit.problems],
        outcomes=[
            msgspec.structs.replace(outcome, result=_without_folders(outcome.result)) for outcome in audit.outcomes
        ],
    )


def _without_folders(result: AnyResult) -> AnyResult:
    match result:
        case Skipped(reason=reason, enable=enable):
            return Skipped(reason=without_folders(reason), enable=without_folders(enable))
        case NotApplicable(reason=reason):
            return NotApplicable(reason=without_folders(reason))
        case Failed(traceback=traceback):
            return Failed(traceback=without_folders(traceback))
    return result
