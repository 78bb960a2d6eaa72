"""Training in miniature: it learns, it goes on as if it had not stopped, and what it writes can be used."""

import errno
import io
import itertools
import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from miniature import ENCODER, GENERATOR, recipe, rows

from restyle_cli.errors import Interrupted, RestyleError
from restyle_cli.inversion import l2
from restyle_cli.io import temporary_of, write_atomic
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train import distil, drawings, encode, loop
from restyle_cli.train import looks as looks_module
from restyle_cli.train.config import Data, read_recipe, recipe_names
from restyle_cli.train.loop import learning_rate, run


def test_stopping_and_going_on_equals_not_stopping(tmp_path):
    text = GENERATOR.format(check=30)
    run(recipe(tmp_path, text), tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    for steps in (7, 15, 22, None):
        run(recipe(tmp_path, text), tmp_path / "parts", resume=True, steps=steps)
    whole, parts = (read_module(tmp_path / name / "tiny.safetensors").state_dict() for name in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), f"{name} differs"


def test_a_generator_learns_and_its_file_says_what_it_is(tmp_path):
    path = run(recipe(tmp_path, GENERATOR.format(check=5)), tmp_path / "run")
    scores = rows(tmp_path / "run")
    assert [int(row["step"]) for row in scores] == [5, 10, 15, 20, 25, 30]
    assert float(scores[2]["psnr"]) > float(scores[0]["psnr"])
    extra = read_header(path)["extra"]
    assert extra["latent_space"] == "tiny" and extra["trained"]["steps"] == 30
    network = read_module(path)
    assert network(network.start(2)).shape == (2, 3, 16, 16)
    assert (tmp_path / "run" / "sheet.png").stat().st_size > 1000


def test_a_folder_with_a_training_is_not_overwritten(tmp_path):
    path = recipe(tmp_path, GENERATOR.format(check=30))
    run(path, tmp_path / "run", steps=1)
    with pytest.raises(RestyleError, match="holds a training already"):
        run(path, tmp_path / "run")


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act) -> None:
    """Have `act` called while this step is made."""
    real = loop.learning_rate
    count = itertools.count(1)

    def rate(stage, number):
        if next(count) == step:
            act()
        return real(stage, number)

    monkeypatch.setattr(loop, "learning_rate", rate)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_finishes_its_step_and_goes_on_from_there(tmp_path, monkeypatch, number):
    path = recipe(tmp_path, GENERATOR.format(check=30))
    run(path, tmp_path / "whole", steps=9)
    with monkeypatch.context() as patched:
        at_step(patched, 7, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=r"interrupted after step 7 of 30; the checkpoint is saved") as caught:
            run(path, tmp_path / "parts", steps=9)
    assert caught.value.exit_status == 130
    assert "--resume" in caught.value.hint
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["progress"] == {"step": 7}
    run(path, tmp_path / "parts", resume=True, steps=9)
    whole, parts = (read_module(tmp_path / name / "tiny.safetensors").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path, monkeypatch):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 3, twice)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(tmp_path, GENERATOR.format(check=30)), tmp_path / "run", steps=9)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


class Full(io.FileIO):
    """A file on a disk that has room for so many bytes."""

    room = 100_000

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("written", ["checkpoint.pt", "sheet.png", "scores.csv", "portrait-16px-0.18.u8"])
def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path, monkeypatch, written):
    path, folder = recipe(tmp_path, GENERATOR.format(check=2)), tmp_path / "run"
    run(path, folder, steps=2)
    kept = (folder / "checkpoint.pt").read_bytes()
    if written.endswith(".u8"):
        (folder / written).unlink()
    real, room = Path.open, 1000 if written == "checkpoint.pt" else 10

    def opened(file, mode="r", *rest, **more):
        if file.name not in (written, temporary_of(Path(written)).name) or "r" in mode.replace("r+", ""):
            return real(file, mode, *rest, **more)
        raw = Full(file, mode.replace("b", ""))
        raw.room = room
        return raw if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", newline="")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        if written == "sheet.png":  # Pillow opens by itself
            patched.setattr(loop, "_save_sheet", lambda images, file: write_atomic(file, no_room))
        with pytest.raises(RestyleError, match=rf"cannot write .*{written}.*no space left on device") as caught:
            run(path, folder, resume=True, steps=4)
    assert "free some space" in caught.value.hint
    assert (folder / "checkpoint.pt").read_bytes() == kept
    assert not [file.name for file in folder.iterdir() if file.name.endswith(".part")]
    assert len(rows(folder)) in (1, 2)
    run(path, folder, resume=True, steps=4)


def no_room(file: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["file", "file/inside"])
def test_a_folder_that_cannot_be(tmp_path, where):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RestyleError, match="cannot write to the folder"):
        run(recipe(tmp_path, GENERATOR.format(check=30)), tmp_path / where)


def changed(saved: dict, **values) -> dict:
    return {key: value for key, value in (saved | values).items() if value is not None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file, saved: file.write_bytes(b"junk"), "no checkpoint"),
        (lambda file, saved: file.write_bytes(file.read_bytes()[:-2000]), "cut off or damaged"),
        (lambda file, saved: torch.save(changed(saved, progress=None), file), "'progress' is missing"),
        (
            lambda file, saved: torch.save(changed(saved, progress={"step": "7"}), file),
            "'progress.step' must be a whole",
        ),
        (lambda file, saved: torch.save(changed(saved, network=[1]), file), "'network' must be a table"),
        (lambda file, saved: torch.save([saved], file), "must be a table"),
        (lambda file, saved: torch.save(changed(saved, network={}), file), "of another recipe, or damaged"),
        (
            lambda file, saved: torch.save(changed(saved, optimiser={"state": {}}), file),
            "of another recipe, or damaged",
        ),
        (lambda file, saved: torch.save(changed(saved, progress={"step": -3}), file), "of another recipe, or damaged"),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, change, said):
    path, file = recipe(tmp_path, GENERATOR.format(check=30)), tmp_path / "run" / "checkpoint.pt"
    run(path, tmp_path / "run", steps=1)
    change(file, torch.load(file, weights_only=True))
    with pytest.raises(RestyleError, match=said) as caught:
        run(path, tmp_path / "run", resume=True, steps=2)
    assert "checkpoint.pt" in caught.value.message
    assert "delete the checkpoint" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 15", "steps = 0", "at 'stages.0.steps'"),
        ("steps = 15", "steps = 'many'", "at 'stages.0.steps'"),
        ("lr = 0.02", "lr = nan", "at 'stages.0.lr'"),
        ("batch = 4", "batch = 300", "a batch of 300 needs more than 256 pictures"),
        ('name = "tiny"', 'name = "../tiny"', "at 'name'"),
        ("check_every = 30", "check_every = 0", "at 'check_every'"),
        ("check_every = 30", f"check_every = {'9' * 5000}", "too many digits"),
        ("check_every = 30", f"check_every = {'[' * 100_000}", "nested too deeply"),
        ("check_every = 30", "check_every = 30\ncheck_every = 31", "is not valid TOML"),
        ("w_dim = 32", "w_dim = 'wide'", "is wrong at 'network'"),
        ("w_dim = 32", "w_dimension = 32", "w_dimension"),
        ('family = "stylegan2"', 'family = ["stylegan2"]', "at 'family'"),
        ("[data]", "[data]\npicures = 3", "picures"),
    ],
    ids=range(13),
)
def test_a_recipe_that_is_wrong_is_named_with_the_setting(tmp_path, old, new, said):
    text = GENERATOR.format(check=30).replace(old, new, 1)
    with pytest.raises(RestyleError, match=said):
        run(recipe(tmp_path, text), tmp_path / "run")


def test_recipes_that_are_no_text(tmp_path):
    path = recipe(tmp_path, GENERATOR.format(check=30))
    data = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + data)
    assert read_recipe(path).name == "tiny"
    path.write_bytes(data + b"# \xff")
    with pytest.raises(RestyleError, match="is not UTF-8 text"):
        read_recipe(path)
    with pytest.raises(RestyleError, match="cannot read"):
        read_recipe(tmp_path / "none.toml")


def test_encoders_train_on_it_and_restyle_starts_from_the_single_pass(tmp_path, tiny_generator):
    single = ENCODER.format(name="one", method="psp", more="", iterations=1, losses="{ latent = 1.0 }")
    run(recipe(tmp_path, single), tmp_path / "one")
    more = 'start_from = "one"'
    loop = ENCODER.format(
        name="many", method="restyle-psp", more=more, iterations=2, losses="{ l2 = 1.0, latent = 0.01 }"
    )
    path = run(recipe(tmp_path, loop), tmp_path / "many")
    (row,) = rows(tmp_path / "many")
    assert {f"l2_{k}" for k in range(6)} <= set(row)
    assert float(row["l2_1"]) < float(row["l2_0"])
    assert read_header(path)["extra"]["method"] == "restyle-psp"
    assert read_module(path).config.input_channels == 6
    wider = loop.replace("hidden = 16", "hidden = 24")
    with pytest.raises(RestyleError, match="another shape"):
        run(recipe(tmp_path, wider), tmp_path / "wider")


def test_a_second_style_keeps_the_codes_of_the_first(tmp_path, tiny_generator):
    portraits = tiny_generator / "tiny.safetensors"
    text = GENERATOR.format(check=30).replace('"tiny"', '"toons"\nstart_from = "tiny"', 1)
    text = text.replace("[data]", '[data]\nstyle = "toon"')
    toons = run(recipe(tmp_path, text), tmp_path / "toons")
    first, second = read_module(portraits), read_module(toons)
    assert torch.equal(first.w_avg, second.w_avg)
    assert all(torch.equal(a, b) for a, b in zip(first.mapping.parameters(), second.mapping.parameters(), strict=True))
    assert not torch.equal(first.const, second.const)
    extra = read_header(toons)["extra"]
    assert extra["latent_space"] == "tiny" and extra["style"] == "toon"
    # An encoder that sees portraits and draws toons is measured against the toons.
    text = ENCODER.format(name="many", method="restyle-psp", more="", iterations=2, losses="{ latent = 1.0 }").replace(
        'generator = "tiny"', 'generator = "toons"'
    )
    run(recipe(tmp_path, text), tmp_path / "many")
    (row,) = rows(tmp_path / "many")
    _, drawn = drawings.held_out(16, 32, "toon")
    start = second(second.start(1)).expand(16, -1, -1, -1)
    assert float(row["l2_0"]) == pytest.approx(float(l2(drawn, start).mean()), abs=2e-5)


def test_a_second_styles_encoder_may_begin_with_the_first_styles_step(tmp_path, monkeypatch, tiny_generator):
    many = ENCODER.format(name="many", method="restyle-psp", more="", iterations=2, losses="{ latent = 1.0 }")
    run(recipe(tmp_path, many), tmp_path / "many", steps=4)
    schedules = []
    real = encode.iterate

    def noted(x, schedule):
        schedules.append([method.name for method in schedule])
        return real(x, schedule)

    monkeypatch.setattr(encode, "iterate", noted)
    run(recipe(tmp_path, many.replace('"many"', '"next"\nfirst = "many"', 1)), tmp_path / "next", steps=12)
    trained = [names for names in schedules if names != ["next"] * 5]
    assert {tuple(names) for names in trained} == {("next", "next"), ("many", "next", "next")}
    longer = [method.name for method in encode.begun_by("many:3,next", tmp_path / "other")]
    assert longer == ["many", "many", "many", "next"]


def test_an_encoder_of_offsets_starts_from_one_of_free_codes_and_is_drawn_together(tmp_path, tiny_generator):
    free = ENCODER.format(name="free", method="psp", more="", iterations=1, losses="{ latent = 1.0 }")
    before = read_module(run(recipe(tmp_path, free), tmp_path / "free"))
    text = ENCODER.format(
        name="held", method="e4e", more='start_from = "free"', iterations=1, losses="{ latent = 0.1, spread = 9.0 }"
    )
    after = read_module(run(recipe(tmp_path, text), tmp_path / "held"))
    assert after.config.codes == "e4e"
    _, x = drawings.held_out(16, 32, "portrait")
    apart, together = (float(network(x).std(dim=1).mean()) for network in (before, after))
    assert together < 0.8 * apart


def test_codes_are_held_within_w(tmp_path):
    """Those of drawn looks cost nothing; others cost what they lie beyond, and a step down the cost leads back."""
    wide = GENERATOR.format(check=30).replace("w_dim = 32", "w_dim = 128")
    run(recipe(tmp_path, wide), tmp_path / "tiny", steps=1)
    text = ENCODER.format(name="held", method="psp", more="", iterations=1, losses="{ inside = 3.0 }")
    task = encode.Encode(read_recipe(recipe(tmp_path, text)), tmp_path / "held")
    known = task.space.embed(looks_module.looks(looks_module.sample_z(4, seed=3)))[:, None].expand(-1, 6, -1)

    def cost(codes):
        return task._code_loss(codes, known, {"inside": 3.0}, {})

    far = (2 * known).requires_grad_(True)
    cost(far).backward()
    there, back = far.detach(), far.detach() - far.grad
    assert float(cost(known)) < 1e-3 * float(cost(there))
    beyond = task.space.beyond(there) / task.space.deviation()
    assert float(cost(there)) == pytest.approx(3 * float(beyond.square().mean()), rel=1e-5)
    assert float(cost(back)) < float(cost(there))
    run(recipe(tmp_path, text), tmp_path / "held", steps=2)


def test_an_early_step_at_a_pace_is_asked_for_less_of_the_finer_layers(tmp_path, tiny_generator):
    text = ENCODER.format(name="many", method="restyle-psp", more="", iterations=2, losses="{ latent = 1.0 }")
    task = encode.Encode(read_recipe(recipe(tmp_path, text)), tmp_path / "many")
    generator = task.generator
    known = torch.randn(3, 1, generator.config.w_dim)
    asked = (task._on_the_way(known, 0.7) - generator.w_avg) / (known - generator.w_avg)
    torch.testing.assert_close(asked[:, 0], torch.ones_like(asked[:, 0]))
    torch.testing.assert_close(asked[:, -1], torch.full_like(asked[:, -1], 0.7))
    paced = text.replace("augment = 0.5", "augment = 0.0\npace = [0.0]").replace("steps = 80", "steps = 300")
    path = run(recipe(tmp_path, paced), tmp_path / "paced")
    _, x = drawings.held_out(16, 32, "portrait")
    found = encode.METHODS.load("restyle-psp")("many", read_module(path), generator)
    states = list(encode.iterate(x, [found] * 2))
    first, second = ((b.w - a.w).norm(dim=2).mean(dim=0) for a, b in pairwise(states))
    assert first[0] > 2 * first[-1] and second[-1] > second[0]


def test_settling_makes_coarse_layers_dearer_to_move_again(tmp_path, tiny_generator):
    text = ENCODER.format(name="many", method="restyle-psp", more="", iterations=2, losses="{ latent = 1.0 }")
    text = text.replace("augment = 0.5", "augment = 0.0").replace("steps = 80", "steps = 200")
    _, x = drawings.held_out(16, 32, "portrait")
    generator = read_module(tmp_path / "tiny" / "tiny.safetensors")
    moved = {}
    for name, losses in (("free", "latent = 1.0"), ("settled", "latent = 1.0, settle = 9.0")):
        path = run(recipe(tmp_path, text.replace("latent = 1.0", losses)), tmp_path / name)
        method = encode.METHODS.load("restyle-psp")("many", read_module(path), generator)
        moves = [(b.w - a.w).norm(dim=2).mean(dim=0) for a, b in pairwise(encode.iterate(x, [method] * 2))]
        moved[name] = [float(one[0] / one[-1]) for one in moves]
    assert moved["settled"][1] < 0.6 * moved["free"][1], "the coarsest layer, beside the finest, in step 2"
    assert moved["settled"][0] > 0.8 * moved["free"][0], "the first step is free"


def test_emphasis_weighs_columns_and_refuses_unknown_ones():
    space = drawings.LookSpace(128)
    one = torch.zeros(2, looks_module.LOOK_DIM)
    one[0, looks_module.COLUMNS.index("hat")] = 1.0
    one[1, looks_module.COLUMNS.index("iris.g")] = 1.0
    change = one @ space.directions
    torch.testing.assert_close(space.emphasised(change, {"iris": 3.0}), change * torch.tensor([[1.0], [3.0]]))
    with pytest.raises(RestyleError, match="no trait or colour named 'hut'"):
        space.emphasised(change, {"hut": 2.0})


def test_favour_shows_who_has_a_trait_oftener():
    values = torch.zeros(4, looks_module.LOOK_DIM)
    values[3, looks_module.COLUMNS.index("hat")] = 1.0
    assert distil.odds(values, {"hat": 2.0}).tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])
    with pytest.raises(RestyleError, match="no trait named 'hut' to favour"):
        distil.odds(values, {"hut": 2.0})


def test_drawings_go_on_where_they_stopped(tmp_path):
    space, data = drawings.LookSpace(16), Data(pictures=512, resolution=8)
    whole, cut = (drawings.Drawings(tmp_path / name, data, space) for name in ("whole", "cut"))
    for one in (whole, cut):
        one.folder.mkdir()
    whole.fill()
    cut.path.write_bytes(whole.path.read_bytes()[:70_000])
    cut.fill()
    assert cut.path.read_bytes() == whole.path.read_bytes()
    assert whole.looks().shape == (512, drawings.looks(drawings.sample_z(1, 0)).shape[1])


def test_drawing_does_without_a_compiler(tmp_path, monkeypatch):
    def broken(function, **_):
        def fail(*args, **kwargs):
            raise RuntimeError("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    made = drawings.Drawings(tmp_path, Data(pictures=256, resolution=8), drawings.LookSpace(16))
    made.fill()
    assert made.path.stat().st_size == 256 * 3 * 8 * 8


def test_spoiled_pictures_stay_pictures():
    import numpy as np

    x = torch.rand(6, 3, 16, 16) * 2 - 1
    assert torch.equal(encode.spoil(x, 0.0, np.random.default_rng(0)), x)
    spoiled = encode.spoil(x, 1.0, np.random.default_rng(0))
    assert spoiled.shape == x.shape and spoiled.min() >= -1 and spoiled.max() <= 1
    assert (spoiled - x).abs().mean() > 0.02


def test_learning_rate_rises_and_falls(tmp_path):
    stage = read_recipe(recipe(tmp_path, GENERATOR.format(check=1))).stages[0]
    assert learning_rate(stage, 0) == pytest.approx(stage.lr / 50)
    long = type(stage)(steps=1000, lr=1.0, final_lr=0.1)
    assert learning_rate(long, 100) > 0.95
    assert learning_rate(long, 999) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_of_the_package_are_valid(name):
    found = read_recipe(name)
    assert found.name == name and found.steps > 0 and found.summary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pictures = 256", "pictures = 256\nstile = 'toon'"), "wrong at 'data.stile'"),
        (("lr = 0.02", "lr = 'fast'"), "wrong at 'stages.0.lr'"),
        (("[data]", "[data"), "not valid TOML"),
        (('"stylegan2"', '"stylegan9"'), "wrong at 'family'"),
    ],
)
def test_wrong_recipes_are_refused_by_name(tmp_path, change, message):
    with pytest.raises(RestyleError, match=message):
        read_recipe(recipe(tmp_path, GENERATOR.format(check=1).replace(*change, 1)))


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(RestyleError) as caught:
        read_recipe("portrat")
    assert "portrait" in (caught.value.hint or "")
