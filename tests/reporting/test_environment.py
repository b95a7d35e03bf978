import json
import platform
import shutil
import subprocess

import pytest

from mtl_cli import __version__
from mtl_cli.reporting.environment import environment, revision, write_environment


def facts(folder, seed=0):
    return environment(
        device="cpu", threads=2, seeds={"seed": seed}, data={"images": "abc"}, command=["mtl", "train"], folder=folder
    )


def git(folder, *words):
    options = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *options, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_environment_names_versions_machine_seeds_and_data(tmp_path):
    write_environment(tmp_path, facts(tmp_path))
    found = json.loads((tmp_path / "env.json").read_text())
    assert found["versions"]["mtl"] == __version__
    assert found["versions"]["python"] == platform.python_version()
    assert all(found["versions"][name] for name in ("torch", "torchvision", "hydra-core", "numpy"))
    assert (found["device"], found["threads"], found["seeds"], found["data"]) == (
        "cpu",
        2,
        {"seed": 0},
        {"images": "abc"},
    )
    assert found["command"] == ["mtl", "train"]


def test_a_resume_adds_its_environment_and_keeps_the_first(tmp_path):
    for seed in (0, 1, 2):
        write_environment(tmp_path, facts(tmp_path, seed))
    found = json.loads((tmp_path / "env.json").read_text())
    assert found["seeds"] == {"seed": 0}
    assert [resume["seeds"]["seed"] for resume in found["resumes"]] == [1, 2]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_revision_is_the_commit_and_says_when_files_differ(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "v9")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert revision(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert revision(tmp_path) == f"{commit}-dirty"


def test_without_git_the_revision_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(tmp_path) is None
