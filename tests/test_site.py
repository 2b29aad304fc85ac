"""The site of the documents: it builds, loads nothing from elsewhere, and leaves nothing out."""

import ast
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from playwright.sync_api import Browser

from configs.base import get_config
from docs.hooks.fields import comments_of, fields
from mv2mae_jax import check

PAGES = sorted(path.stem for path in Path("docs").glob("*.md"))
LOADING = {"script", "img", "source", "iframe", "video", "audio", "embed", "object", "link"}


class Page(HTMLParser):
    """What a page of the site refers to, and what can be referred to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []  # of <a>
        self.loaded: list[str] = []  # with the page
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given.get("id", ""), given.get("name", "")}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in LOADING:
            self.loaded += [
                given[name] for name in ("src", "href", "data", "srcset") if name in given
            ]


def build_site(out: Path, config: str = "mkdocs.yml") -> None:
    build(load_config(config, site_dir=str(out)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build_site(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_document_is_a_page_and_in_the_navigation(site: Path, pages: dict[Path, Page]):
    linked = set(pages[site / "index.html"].links)
    assert {f"{name}.html" for name in PAGES} <= linked
    assert {"contributing.html", "changelog.html"} <= linked


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Page]):
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of the root of a server
            continue
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if not parts.scheme:
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                assert target.is_file(), f"{path}: {link}"
                if target in pages:
                    assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {link}"


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]):
    for path, page in pages.items():
        assert not [link for link in page.loaded if re.match(r"(https?:)?//", link)], path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_files_of_the_repository_are_pages(site: Path):
    text = re.sub(r"<[^>]+>", "", (site / "files/configs/custom.py.html").read_text())
    assert "ViT-S with the paper's recipe" in text.replace("&#39;", "'")


def test_a_notebook_is_shown_as_text_and_programs(site: Path):
    page = (site / "files/examples/tour.ipynb.html").read_text()
    assert "cell_type" not in page and "outputs" not in page
    text = re.sub(r"<[^>]+>", "", page)
    cells = json.loads(Path("examples/tour.ipynb").read_text())["cells"]
    lines = [x["source"][0].strip() for x in cells if x["cell_type"] == "code"]
    assert lines and all(line in html.unescape(text) for line in lines)


def test_links_to_nothing_fail(tmp_path: Path):
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        (tmp_path / name).write_text("# Here\n")
    shutil.copytree("docs/hooks", tmp_path / "docs/hooks")
    page = "# Data\n\n[file](../nothing.py) [page](nothing.md) [anchor](data.md#nothing)\n"
    (tmp_path / "docs/data.md").write_text(page)
    settings = re.sub(r"(?m)^(nav|extra_css):\n(  .*\n)+", "", Path("mkdocs.yml").read_text())
    (tmp_path / "mkdocs.yml").write_text(settings)
    with pytest.raises(Abort, match="3 warnings"):
        build_site(tmp_path / "site", str(tmp_path / "mkdocs.yml"))


def test_every_field_is_explained(site: Path):
    explained = {field.name: field.meaning for field in fields()}
    assert explained.keys() == dict(check.fields(get_config())).keys()
    assert not [name for name, meaning in explained.items() if len(meaning) < 5]
    page = (site / "configs.html").read_text()
    assert all(f"<code>{name}</code>" in page for name in explained)


@pytest.mark.parametrize("width", [1280, 390])
def test_no_field_is_broken_within_its_name(site: Path, browser: Browser, width: int):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto((site / "configs.html").as_uri())
    names = page.locator("td:first-child code")
    lines = names.evaluate_all("names => names.map(name => name.getClientRects().length)")
    assert len(lines) > len(fields()) and set(lines) == {1}
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


def test_a_field_has_its_own_comment_and_values():
    (layer_decay,) = (field for field in fields() if field.name == "optimizer.layer_decay")
    assert "from one layer to the one below it" in layer_decay.meaning
    assert (layer_decay.default, layer_decay.finetuning) == (1.0, 0.9)


def test_a_comment_may_begin_above_its_field(tmp_path: Path):
    source = tmp_path / "base.py"
    source.write_text("# one\nx = 1  # two\ny = 2  # three\n\n# four\n# five\nz = 3\n")
    found = comments_of(source)
    assert (found[2], found[3], found[7]) == ("one two", "three", "four five")


def templates() -> list[str]:
    """Every text of the program, with `…` for what is put into it."""
    found = []
    for folder in ("mv2mae_jax", "tfds_builders", "configs"):
        for path in Path(folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return [text for text in found if "\n" not in text]  # no docstrings of several lines


TROUBLES = re.findall(
    r"^\| `([^|]+?)` \|", Path("docs/troubleshooting.md").read_text(), re.MULTILINE
)


def test_messages_are_found():
    assert len(TROUBLES) >= 40


def test_every_message_is_one_of_the_program():
    texts = templates()
    for message in TROUBLES:
        words = ".*".join(re.escape(part.strip()) for part in message.split("…"))
        assert any(re.search(words, text) for text in texts), message


def test_issue_forms_have_what_github_asks_for():
    folder = Path(".github/ISSUE_TEMPLATE")
    assert isinstance(
        yaml.safe_load((folder / "config.yml").read_text())["blank_issues_enabled"], bool
    )
    for name in ("bug.yml", "feature.yml"):
        form = yaml.safe_load((folder / name).read_text())
        assert form["name"] and form["description"]
        assert any(part["type"] != "markdown" for part in form["body"])
        for part in form["body"]:
            assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
            assert part["attributes"]["value" if part["type"] == "markdown" else "label"]
        ids = [part["id"] for part in form["body"] if "id" in part]
        assert len(ids) == len(set(ids))


def test_the_citation_names_software_and_paper():
    citation = yaml.safe_load(Path("CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["authors"]
    version = re.search(r'^version = "(.+)"', Path("pyproject.toml").read_text(), re.MULTILINE)
    assert version and citation["version"] == version[1]
    (paper,) = citation["references"]
    assert paper["url"] in Path("docs/paper.md").read_text()
    assert paper["title"] in " ".join(Path("docs/paper.md").read_text().split())
    assert paper["type"] == "article" and all("family-names" in a for a in paper["authors"])
