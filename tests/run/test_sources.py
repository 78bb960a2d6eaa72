"""Finding images: folders, links, pipes, names, and our own results among them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.images import RESULT, save_image
from restyle_cli.run.sources import find_images
from restyle_cli.store.files import write_latent


def relatives(paths: list[Path], **options) -> list[str]:
    return [source.relative.as_posix() for source in find_images(paths, **options)]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_are_walked_sorted_and_keep_their_sub_paths(tmp_path):
    touch(tmp_path / "b.PNG", tmp_path / "a.jpg", tmp_path / "sub/deep/c.webp", tmp_path / "notes.txt")
    touch(tmp_path / "._a.jpg", tmp_path / ".cache/d.png")
    assert relatives([tmp_path]) == ["a", "b", "sub/deep/c"]


def test_files_come_as_given_and_once(tmp_path):
    touch(tmp_path / "b.png", tmp_path / "a.png", tmp_path / "scan")
    assert relatives([tmp_path / "b.png", tmp_path / "scan", tmp_path]) == ["b", "scan", "a"]


def test_the_output_folder_is_none_to_read(tmp_path):
    touch(tmp_path / "a.jpg")
    with pytest.raises(RestyleError, match="is also the output folder"):
        relatives([tmp_path], exclude=tmp_path)
    assert relatives([tmp_path / "a.jpg"], exclude=tmp_path) == ["a"]


def test_the_output_folder_is_left_out(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "out/a.strip.png", tmp_path / "out/sub/a.png")
    assert relatives([tmp_path], exclude=tmp_path / "out") == ["a"]
    assert len(relatives([tmp_path])) == 3


def test_equal_names_are_told_apart(tmp_path):
    touch(tmp_path / "a/x.jpg", tmp_path / "a/x.png", tmp_path / "b/x.jpg", tmp_path / "b/y.jpg")
    assert relatives([tmp_path / "a"]) == ["x.jpg", "x.png"]
    assert relatives([tmp_path / "a/x.jpg", tmp_path / "b/x.jpg"]) == ["a/x", "b/x"]
    names = relatives([tmp_path / "a", tmp_path / "b"])
    assert len(set(names)) == 4
    assert names[-1] == "y"


@pytest.mark.parametrize("names", [("a.jpg", "a.JPG"), ("a.jpg", "A.jpg"), ("a.jpg", "a.JPG", "A.png", "a-2.png")])
def test_names_of_one_folder_that_differ_in_case_stay_in_the_output_folder(tmp_path, names):
    touch(*(tmp_path / "photos" / name for name in names))
    found = relatives([tmp_path / "photos"])
    assert len({name.casefold() for name in found}) == len(names)
    assert not any("/" in name for name in found)


def test_a_name_of_dots_keeps_its_suffix(tmp_path):
    touch(tmp_path / "..jpg")
    assert relatives([tmp_path / "..jpg"]) == ["..jpg"]


def test_names_that_differ_only_in_case_are_told_apart(tmp_path):
    touch(tmp_path / "a/X.jpg", tmp_path / "b/x.jpg")
    assert relatives([tmp_path / "a", tmp_path / "b"]) == ["a/X", "b/x"]


def test_missing_and_empty_are_named(tmp_path):
    with pytest.raises(RestyleError, match=r"no file or folder .*gone\.jpg"):
        find_images([tmp_path / "gone.jpg"])
    touch(tmp_path / "texts/readme.txt")
    with pytest.raises(RestyleError, match=r"no images in the folder .*texts"):
        find_images([tmp_path / "texts"])


def test_the_others_are_found_when_errors_are_told(tmp_path):
    touch(tmp_path / "a.png")
    told = []
    found = find_images(
        [tmp_path / "gone.jpg", tmp_path / "a.png"], on_error=lambda path, error: told.append((path, error))
    )
    assert [source.path for source in found] == [tmp_path / "a.png"]
    assert [(path.name, type(error)) for path, error in told] == [("gone.jpg", RestyleError)]


def test_finding_needs_no_torch():
    code = "import sys, restyle_cli.run.sources; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- links, pipes and other things that are no images


def found_and_refused(folder: Path, **options) -> tuple[list[str], dict[str, str]]:
    refused = {}
    found = find_images([folder], on_error=lambda path, error: refused.update({path.name: error.message}), **options)
    return [source.relative.as_posix() for source in found], refused


def test_pipes_sockets_and_links_that_lead_nowhere_are_refused_and_the_rest_is_found(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "z.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "no-image")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.jpg"))  # the whole path can be too long for it
        found, refused = found_and_refused(tmp_path)
    assert found == ["a", "z"]
    assert set(refused) == {"pipe.png", "loop.jpg", "one", "two", "gone.jpg", "socket.jpg"}
    assert refused["pipe.png"].endswith("pipe.png' cannot be read: it is a named pipe, not a regular file")
    assert refused["loop.jpg"].endswith("loop.jpg' cannot be read: too many levels of symbolic links")


@pytest.mark.parametrize("given", ["pipe", "loop", "/dev/zero"])
def test_what_is_no_file_is_refused_when_it_is_given(tmp_path, given):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RestyleError, match=r"cannot be read: (it is a named pipe|too many levels|it is a device)"):
        find_images([tmp_path / given])


def test_a_loop_as_output_excludes_nothing(tmp_path):
    touch(tmp_path / "a.jpg")
    (tmp_path / "loop").symlink_to("loop")
    assert relatives([tmp_path], exclude=tmp_path / "loop", on_error=lambda path, error: None) == ["a"]


def test_folders_behind_links_are_walked_once(tmp_path):
    touch(tmp_path / "elsewhere/x.jpg", tmp_path / "photos/a.jpg", tmp_path / "photos/sub/b.jpg")
    (tmp_path / "photos/aa").symlink_to(tmp_path / "photos/sub")  # the folder's own name goes first
    (tmp_path / "photos/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/link2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/sub/here").symlink_to(".")
    (tmp_path / "photos/sub/up").symlink_to("..")
    (tmp_path / "photos/above").symlink_to(tmp_path)
    assert found_and_refused(tmp_path / "photos") == (["a", "link/x", "sub/b"], {})


def test_a_linked_output_folder_is_left_out(tmp_path):
    touch(tmp_path / "photos/a.jpg", tmp_path / "out/x.jpg")
    (tmp_path / "photos/results").symlink_to(tmp_path / "out")
    assert relatives([tmp_path / "photos"], exclude=tmp_path / "out") == ["a"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    touch(tmp_path / "a/x.jpg", tmp_path / "b/x.jpg", tmp_path / "c/x.jpg")
    (tmp_path / "b").chmod(0)
    try:
        found, refused = found_and_refused(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)
    assert (found, list(refused)) == (["a/x", "c/x"], ["b"])


# --- our own results


def latent(path: Path, kinds: list[str]) -> None:
    write_latent(path, {"w": torch.zeros(1, 1)}, {"files": kinds})


def test_results_are_left_out_of_folders(tmp_path):
    touch(*(tmp_path / f"p{end}" for end in (".jpg", ".png", ".strip.png", ".pasted.png", ".variant-2.png")))
    latent(tmp_path / "p.safetensors", ["image", "strip", "pasted", "variant-2", "latent"])
    touch(tmp_path / "q.png", tmp_path / "comic.strip.png", tmp_path / "r.png", tmp_path / "r.safetensors")
    latent(tmp_path / "q.safetensors", ["latent"])  # of q.png, which is the photo
    for name, text in (("s.strip", {RESULT: "strip"}), ("t.heatmap", {"restyle-heatmap": "{}"}), ("u.pasted", {})):
        save_image(Image.new("RGB", (16, 16)), tmp_path / f"{name}.png", text)
    results = []
    assert sorted(relatives([tmp_path], on_result=results.append)) == ["comic.strip", "p", "q", "r", "u.pasted"]
    ends = {"p.png", "p.strip.png", "p.pasted.png", "p.variant-2.png", "s.strip.png", "t.heatmap.png"}
    assert {path.name for path in results} == ends


def test_a_result_that_is_named_is_taken(tmp_path):
    touch(tmp_path / "p.png")
    latent(tmp_path / "p.safetensors", ["image", "latent"])
    results = []
    assert relatives([tmp_path / "p.png"], on_result=results.append) == ["p"]
    assert results == []


def test_a_folder_of_nothing_but_results_is_an_error(tmp_path):
    touch(tmp_path / "p.png")
    latent(tmp_path / "p.safetensors", ["image", "latent"])
    with pytest.raises(RestyleError, match=r"no images in the folder .* but results of restyle \(1\)"):
        find_images([tmp_path], on_result=lambda path: None)
