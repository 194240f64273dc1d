"""Write everything that is generated: the blocks of the documents, and the pages of the diagnosers."""

import click

from tests.documentation import ROOT, pages, renewed, texts

if __name__ == "__main__":
    written = {file: renewed(file.read_text(encoding="utf-8")) for file in texts()} | pages()
    folder = ROOT / "docs" / "diagnosers"
    folder.mkdir(exist_ok=True)
    for stale in set(folder.glob("*.md")) - written.keys():
        stale.unlink()
        click.echo(f"removed {stale.relative_to(ROOT)}")
    for file, text in written.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            click.echo(f"wrote {file.relative_to(ROOT)}")
