import subprocess
import sys

import pytest
import torch

from restyle_cli.devices import choose_device, choose_dtype, compute, describe, exactly
from restyle_cli.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))


def test_auto_takes_the_best_there_is(no_gpu, monkeypatch):
    assert choose_device() == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_names_the_way_on(no_gpu, name):
    with pytest.raises(UsageError, match=f"'{name}'") as caught:
        choose_device(name)
    assert "--device auto" in caught.value.hint


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "cpu 1"])
def test_an_unknown_device_is_answered_with_the_known(name):
    with pytest.raises(UsageError, match="no device named") as caught:
        choose_device(name)
    assert "cuda" in caught.value.hint


def test_a_gpu_is_chosen_by_number(two_gpus):
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="the last CUDA GPU here is 'cuda:1'"):
        choose_device("cuda:2")


def test_precisions():
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bf16", CPU) == torch.bfloat16
    with pytest.raises(UsageError, match="cpu does not compute in fp16") as caught:
        choose_dtype("fp16", CPU)
    assert "bf16" in caught.value.hint
    with pytest.raises(UsageError, match="no precision named 'fp61'") as caught:
        choose_dtype("fp61", CPU)
    assert caught.value.hint == "did you mean 'fp16'?"


def test_old_gpus_have_fp16_but_not_bf16(two_gpus):
    assert choose_dtype("fp16", torch.device("cuda", 0)) == torch.float16
    with pytest.raises(UsageError, match="does not compute in bf16"):
        choose_dtype("bf16", torch.device("cuda", 0))


def test_compute_changes_the_format_of_products_only():
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with compute(CPU, torch.float32):
        assert layer(x).dtype == torch.float32
    with compute(CPU, torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        assert layer.weight.dtype == torch.float32
    assert layer(x).dtype == torch.float32


def test_describe_ends_with_the_processor():
    cpu = describe()[-1]
    assert (cpu.name, cpu.precisions) == ("cpu", ("fp32", "bf16"))
    assert str(torch.get_num_threads()) in cpu.title


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_is_described_and_computes():
    first = describe()[0]
    assert first.name == "cuda:0"
    assert first.memory > 2**30
    device = choose_device("cuda:0")
    ones = torch.ones(2, 2, device=device)
    with compute(device, choose_dtype("fp16", device)):
        assert (ones @ ones).dtype == torch.float16


def test_fp32_is_no_tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        for context in (compute(CPU, torch.float32), compute(CPU, torch.bfloat16), exactly(CPU)):
            with context:
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.backends.cuda.matmul.allow_tf32
                assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "high"
            assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_exactly_ends_a_lower_precision():
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with compute(CPU, torch.bfloat16), exactly(CPU):
        assert layer(x).dtype == torch.float32


NEWER_SETTINGS = """
import torch
from restyle_cli.devices import compute
settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv
for setting in settings:
    setting.fp32_precision = "tf32"
with compute(torch.device("cpu"), torch.float32):
    print([setting.fp32_precision for setting in settings])
print([setting.fp32_precision for setting in settings])
"""


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="PyTorch before 2.9 has the older settings only")
def test_fp32_is_no_tf32_in_a_program_that_uses_the_newer_settings():
    done = subprocess.run([sys.executable, "-c", NEWER_SETTINGS], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['ieee', 'ieee']", "['tf32', 'tf32']"]
