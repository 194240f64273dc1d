"""The audit as JSON: whole, and the same bytes each time."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from gradaudit.audit.result import AUDIT_VERSION, Audit
from gradaudit.report import json_file
from gradaudit.report.html import report_page
from gradaudit.report.json_file import AuditFileError


def test_an_audit_comes_back_as_it_went(audit: Audit, hostile_audit: Audit, tmp_path: Path) -> None:
    for number, one in enumerate((audit, hostile_audit)):
        file = tmp_path / f"audit-{number}.json"
        json_file.write(one, file)
        assert json_file.read(file) == one


@pytest.mark.parametrize("field", ["comparison", "unit", "decides"])
def test_a_measure_of_another_kind_is_refused(audit: Audit, field: str) -> None:
    whole = json.loads(json_file.render(audit))
    finding = next(finding for outcome in whole["outcomes"] for finding in outcome["result"].get("findings", []))
    finding["measures"][0][field] = "<b>"
    with pytest.raises(AuditFileError, match="Invalid enum value '<b>'"):
        json_file.parse(json.dumps(whole), "audit.json")


def test_the_page_can_be_made_from_the_file(audit: Audit, page: str) -> None:
    assert report_page.render(json_file.parse(json_file.render(audit), "audit.json")) == page


def test_the_same_audit_gives_the_same_bytes(audit: Audit) -> None:
    assert json_file.render(audit) == json_file.render(json_file.parse(json_file.render(audit), "audit.json"))


def test_what_is_no_audit_is_one_clear_line(audit: Audit) -> None:
    for text in ("", "[]", "{}", '{"audit_version": 1'):
        with pytest.raises(AuditFileError, match=r"^x\.json is not an audit: "):
            json_file.parse(text, "x.json")
    newer = json_file.render(msgspec.structs.replace(audit, audit_version=AUDIT_VERSION + 1))
    with pytest.raises(AuditFileError, match="upgrade gradaudit"):
        json_file.parse(newer, "x.json")


def test_the_published_schema_is_current() -> None:
    assert json_file.SCHEMA.read_text(encoding="utf-8") == json_file.schema(), f"renew it with `{json_file.RENEW}`"


def test_a_real_audit_validates_against_the_schema(audit: Audit, hostile_audit: Audit) -> None:
    schema = json.loads(json_file.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for one in (audit, hostile_audit):
        whole = json.loads(json_file.render(one))
        validator.validate(whole)
        assert not validator.is_valid({**whole, "overview": None})
        assert not validator.is_valid({**whole, "ranked": [{}]})
