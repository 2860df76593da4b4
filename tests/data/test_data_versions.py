"""``kfp-textclf data``: with a real git, a real DVC, a directory and a real S3 server as remotes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from atis_checkout import dvc, git, md5_of, object_path
from support import CITIES, tiny_rows, write_csv

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.ingest.stage import ingest
from kfp_textclf.pipelines import cli
from kfp_textclf.pipelines.data_add import add_version
from kfp_textclf.pipelines.data_status import data_status
from kfp_textclf.pipelines.data_versions import compare_versions
from kfp_textclf.pipelines.params import Dataset
from kfp_textclf.pipelines.pins import pin_dataset

ROWS = tiny_rows(CITIES[:4])
PARAMS = Path("params.yaml")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC repository with a directory remote and a file of texts, and the current directory."""
    root = tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n", encoding="utf-8")
    remote = "[core]\n    remote = main\n['remote \"main\"']\n    url = ../../store\n"
    (root / ".dvc" / "config").write_text(remote, encoding="utf-8")
    params = {"dataset": "mine", "datasets": {"mine": {"train": "data/train.csv"}}}
    (root / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")
    write_csv(root / "data" / "train.csv", ROWS)
    git(root, "init", "--quiet")
    git(root, "add", ".dvc", "params.yaml")
    git(root, "commit", "--quiet", "--message", "start")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line here, and return exit code, output and errors."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["kfp-textclf", *arguments])
            cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def pin_text(content: bytes, name: str = "train.csv") -> str:
    return f"outs:\n- md5: {md5_of(content)}\n  size: {len(content)}\n  hash: md5\n  path: {name}\n"


def pin_by_hand(root: Path, store: Path, rows: list[tuple[str, str]]) -> bytes:
    """Pin rows and put them where a push puts them, without the seconds that DVC takes; commit it."""
    content = write_csv(root / "data" / "train.csv", rows).read_bytes()
    (root / "data" / "train.csv.dvc").write_text(pin_text(content), encoding="utf-8")
    (root / "data" / ".gitignore").write_text("/train.csv\n", encoding="utf-8")
    object_path(store, content).parent.mkdir(parents=True, exist_ok=True)
    object_path(store, content).write_bytes(content)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", f"{len(rows)} rows")
    return content


def test_a_version_is_pinned_pushed_compared_and_looked_after(
    repository: Path, store: Path, capsys: pytest.CaptureFixture[str]
):
    file = repository / "data" / "train.csv"
    code, out, err = call(capsys, "data", "add", "data/train.csv")
    assert (code, err) == (0, "")
    assert f"md5 {md5_of(file.read_bytes())}, pushed to {store.as_uri()}, and read back" in out
    assert "git add data/train.csv.dvc data/.gitignore" in out
    assert object_path(store, file.read_bytes()).read_bytes() == file.read_bytes()
    assert dvc(repository, "status") == "Data and pipelines are up to date."
    assert [f.pin for f in data_status(PARAMS).files] == ["not committed"]
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "v1")
    git(repository, "tag", "v1")
    assert call(capsys, "data", "status")[0] == 0

    rows = [("fare", ROWS[0][1]), *ROWS[2:], ("hotel", "<b>\x1b[31mroom</b>")]
    write_csv(file, rows)
    modified = data_status(PARAMS).files[0]
    assert (modified.checkout, modified.pin, modified.remote) == ("modified", "committed", "ok")
    unpinned = compare_versions(PARAMS, "v1")
    assert (unpinned.new.files["train"]["pinned"], unpinned.old.files["train"]["pinned"]) == (False, True)
    code, out, err = call(capsys, "data", "add", "data/train.csv")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert git(repository, "status", "--porcelain").split() == ["M", "data/train.csv.dvc"]
    assert data_status(PARAMS).files[0].pin == "changed since the commit"
    git(repository, "commit", "--quiet", "--all", "--message", "v2")
    assert data_status(PARAMS, verify=True).good

    shutil.rmtree(repository / ".dvc" / "cache")
    file.unlink()
    code, out, _ = call(capsys, "data", "status", "--json")
    assert code == 1
    found = json.loads(out)
    assert [(f["checkout"], f["cache"], f["remote"]) for f in found["files"]] == [("missing", "missing", "ok")]

    code, out, err = call(capsys, "data", "diff", "v1", "HEAD", "--json", "--html", "changes.html")
    assert (code, err) == (0, "")
    changes = json.loads(out)["changes"]["train"]
    assert (changes["old"]["rows"], changes["new"]["rows"]) == (len(ROWS), len(rows))
    assert (changes["added"], changes["removed"], changes["relabelled"]) == (1, 1, 1)
    assert changes["moves"] == [[ROWS[0][0], "fare", 1]]
    assert changes["relabelled_examples"] == [[ROWS[0][1], ROWS[0][0], "fare"]]
    assert changes["removed_examples"] == [[ROWS[1][1], ROWS[1][0]]]
    page = (repository / "changes.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert "<b>\x1b" not in page
    code, out, _ = call(capsys, "data", "diff", "v1", "HEAD")
    assert code == 0
    assert "\x1b" not in out
    assert "hotel" in out


def test_a_directory_is_a_version_too(repository: Path, store: Path):
    write_csv(repository / "set" / "train.csv", ROWS)
    write_csv(repository / "set" / "more" / "test.csv", ROWS[:3])
    (repository / "set" / "notes.txt").write_text("no texts to learn from", encoding="utf-8")
    added = add_version([Path("set")], PARAMS)
    assert list(added.changes) == ["set/more/test.csv", "set/train.csv"]
    shutil.rmtree(repository / "set")
    shutil.rmtree(repository / ".dvc" / "cache")
    files = Dataset(train="set/train.csv", test="set/more/test.csv")
    pin, names = pin_dataset(files, repository, "main")
    assert names == {"train_file": "train.csv", "test_file": "more/test.csv"}
    ingest(pin, str(repository / "raw"))
    assert (repository / "raw" / "train.csv").read_bytes() == write_csv(Path("as"), ROWS).read_bytes()
    assert (repository / "raw" / "more" / "test.csv").read_bytes() == write_csv(Path("as"), ROWS[:3]).read_bytes()


@pytest.mark.parametrize("damage", ["unwritable", "damaged"])
def test_a_failed_push_leaves_the_old_version_pinned(repository: Path, store: Path, damage: str):
    pin_by_hand(repository, store, ROWS)
    new = write_csv(repository / "data" / "train.csv", ROWS[1:]).read_bytes()
    place = object_path(store, new)
    if damage == "unwritable":
        shutil.rmtree(store)
        store.write_text("a file, where a directory is wanted", encoding="utf-8")
        message = r"^dvc push: .*; nothing was changed here"
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x" * len(new))
        place.chmod(0o444)  # which DVC takes for a sign that it is right
        message = rf"md5 {md5_of(new)}.* holds other bytes \(md5 {md5_of(b'x' * len(new))}.*nothing was changed here"
    with pytest.raises(UserError, match=message) as refused:
        add_version([Path("data/train.csv")], PARAMS)
    assert "\n" not in str(refused.value)
    assert git(repository, "status", "--porcelain") == ""
    assert (repository / "data" / "train.csv").read_bytes() == new


def test_what_cannot_be_a_version_is_refused_before_anything_is_touched(repository: Path, tmp_path: Path):
    (repository / "bad.csv").write_text('label,text\na,"open\n', encoding="utf-8")
    (repository / "empty.csv").write_text("label,text\n", encoding="utf-8")
    (repository / "folder").mkdir()
    (tmp_path / "outside.csv").write_text("a,b\n", encoding="utf-8")
    for target, message in (
        ("bad.csv", "line 2"),
        ("empty.csv", "has no row with text and label"),
        ("folder", "holds no file of texts"),
        ("absent.csv", "does not exist"),
        ("../outside.csv", "is in no DVC repository"),
    ):
        with pytest.raises(UserError, match=message):
            add_version([Path("data/train.csv"), Path(target)], PARAMS)
    with pytest.raises(UserError, match="is no DVC remote \\(main\\)"):
        add_version([Path("data/train.csv")], PARAMS, remote="other")
    config = repository / ".dvc" / "config"
    config.write_text(config.read_text(encoding="utf-8").replace("../../store", "s3://CHANGE-ME/x"), encoding="utf-8")
    with pytest.raises(UserError, match="its url is a template"):
        add_version([Path("data/train.csv")], PARAMS)
    assert not (repository / "data" / "train.csv.dvc").exists()
    assert not (repository / ".dvc" / "cache").exists()


def test_a_file_that_git_tracks_is_refused_and_compared_by_git(repository: Path, store: Path):
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "in git")
    assert data_status(PARAMS).good
    with pytest.raises(UserError, match=r"^dvc add: .*tracked by .*git rm -r --cached"):
        add_version([Path("data/train.csv")], PARAMS)
    assert git(repository, "status", "--porcelain") == ""
    write_csv(repository / "data" / "train.csv", ROWS[:-2])
    assert compare_versions(PARAMS, "HEAD").changes["train"].removed == 2
    assert data_status(PARAMS).files[0].pin == "changed since the commit"


@pytest.mark.parametrize(
    ("content", "state", "verified"),
    [(None, "missing", "missing"), (b"short", "wrong size", "wrong size"), ("same size", "ok", "damaged")],
)
def test_status_tells_what_a_remote_has(repository: Path, store: Path, content, state: str, verified: str):
    pinned = pin_by_hand(repository, store, ROWS)
    place = object_path(store, pinned)
    place.unlink()
    if content:
        place.write_bytes(content if isinstance(content, bytes) else b"x" * len(pinned))
    assert data_status(PARAMS).files[0].remote == state
    assert data_status(PARAMS, verify=True).files[0].remote == verified
    assert not data_status(PARAMS, verify=True).good


def test_versions_are_compared_by_the_files_that_they_had(repository: Path, store: Path):
    pin_by_hand(repository, store, ROWS)
    git(repository, "tag", "v1")
    params = {"dataset": "mine", "datasets": {"mine": {"train": "new/rows.csv", "test": "new/test.csv"}}}
    (repository / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")
    write_csv(repository / "new" / "rows.csv", ROWS[3:])
    write_csv(repository / "new" / "test.csv", ROWS[:3])
    (repository / "data" / "train.csv").unlink()
    found = compare_versions(PARAMS, "v1")
    assert {role: (c.added, c.removed) for role, c in found.changes.items()} == {"train": (0, 3), "test": (3, 0)}
    with pytest.raises(UserError, match=r"v7: is no revision"):
        compare_versions(PARAMS, "v7")
    object_path(store, write_csv(repository / "x.csv", ROWS).read_bytes()).write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"holds other bytes \(md5 {md5_of(b'damaged')}"):
        compare_versions(PARAMS, "v1")


def test_a_web_server_is_a_remote_to_read_from(
    repository: Path, store: Path, serve: Callable[[Path], str], dead_url: str
):
    pinned = pin_by_hand(repository, store, ROWS)
    url = serve(store)
    assert data_status(PARAMS, remote=url, verify=True).good
    pin, _ = pin_dataset(Dataset(train="data/train.csv"), repository, url)
    ingest(pin, str(repository / "raw"))
    assert (repository / "raw" / "train.csv").read_bytes() == pinned
    (repository / "data" / "train.csv").unlink()
    assert compare_versions(PARAMS, "HEAD", remote=url).changes["train"].added == 0
    object_path(store, pinned).write_bytes(b"x" * len(pinned))
    assert data_status(PARAMS, remote=url, verify=True).files[0].remote == "damaged"
    object_path(store, pinned).unlink()
    assert data_status(PARAMS, remote=url).files[0].remote == "missing"
    with pytest.raises(UserError, match=r"/files/md5/../.* does not exist; push it"):
        compare_versions(PARAMS, "HEAD", remote=url)
    with pytest.raises(UserError, match=r"cannot be read \(.*refused.*\); check the store"):
        data_status(PARAMS, remote=dead_url)


@pytest.mark.s3
def test_a_version_goes_to_s3_and_comes_back(repository: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch):
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")  # the remote's own setting has to do
    config = f"['remote \"s3\"']\n    url = {s3_uri}/dvc\n    endpointurl = {endpoint}\n"
    (repository / ".dvc" / "config").write_text(config, encoding="utf-8")
    added = add_version([Path("data/train.csv")], PARAMS)
    assert added.remote == f"{s3_uri}/dvc"
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "v1")
    content = (repository / "data" / "train.csv").read_bytes()
    pin, _ = pin_dataset(Dataset(train="data/train.csv"), repository, "s3")
    key = f"files/md5/{md5_of(content)[:2]}/{md5_of(content)[2:]}"
    assert pin["store"] == f"{s3_uri}/dvc"
    assert pin["files"] == [{"path": "train.csv", "md5": md5_of(content), "size": len(content)}]
    assert data_status(PARAMS, verify=True).good
    shutil.rmtree(repository / ".dvc" / "cache")
    (repository / "data" / "train.csv").unlink()
    assert compare_versions(PARAMS, "HEAD", "HEAD").changes["train"].new.rows == len(ROWS)
    open_store(added.remote).write(key, b"x" * len(content))
    assert data_status(PARAMS, verify=True).files[0].remote == "damaged"
    open_store(added.remote).delete(key)
    assert data_status(PARAMS).files[0].remote == "missing"
