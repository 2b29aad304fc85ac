"""Files of the repository that documents link to are pages of the site too.

On GitHub a link of a document is a path of the repository. Here README, CONTRIBUTING and CHANGELOG
are pages of the site, and any other file outside docs/ that is linked to is shown on a page of its
own. A link to what does not exist stays as it is, for MkDocs to complain about.
"""

import json
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
SOURCES = "files"  # folder of the site for all other files
LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)#\s]+")  # the path of [text](path#anchor)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """MkDocs' hook: adds the documents above docs/, and the files that any document links to."""
    root = Path(config.config_file_path).parent
    for document, page in DOCUMENTS.items():
        content = (root / document).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    linked = {
        _target(link, file.src_uri)
        for file in files.documentation_pages()
        for link in LINK.findall(file.content_string)
    }
    for path in sorted(linked):
        if (page := _page(path)).startswith(f"{SOURCES}/") and (root / path).is_file():
            text = (root / path).read_text(encoding="utf-8")
            shown = _notebook(text) if path.endswith(".ipynb") else _fenced(text, Path(path).suffix)
            content = f"# {path}\n\n{shown}"
            inclusion = InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, page, content=content, inclusion=inclusion))


def _notebook(text: str) -> str:
    """Its cells: text as it is, programs as programs."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(x if kind == "markdown" else _fenced(f"{x}\n", ".py") for kind, x in cells)


def _fenced(text: str, suffix: str) -> str:
    return f"````{suffix[1:]}\n{text}````\n"


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """MkDocs' hook: leads links to the pages that their files have become."""
    here = page.file.src_uri
    if here.startswith(f"{SOURCES}/"):
        return markdown

    def to_page(link: re.Match[str]) -> str:
        target = _page(_target(link[0], here))
        return relpath(target, dirname(here)) if files.get_file_from_path(target) else link[0]

    return LINK.sub(to_page, markdown)


def _target(link: str, page: str) -> str:
    """The path in the repository that a link of a page leads to."""
    documents = {page: document for document, page in DOCUMENTS.items()}
    return normpath(join(dirname(documents.get(page, f"docs/{page}")), link))


def _page(path: str) -> str:
    """The page or file of the site that a file of the repository is."""
    if path in DOCUMENTS:
        return DOCUMENTS[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{SOURCES}/{path}.md"
