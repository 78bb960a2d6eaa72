"""Deterministic numbers for parity tests: weights, latents and images from a name alone.

Everything is integer arithmetic until one final scaling, so the values are the
same bits with every numpy version, platform and (if ported) language.

  normal(name, shape, salt)        approximately N(0,1), float32
  tensor(key, shape, family, salt) the value of one state-dict entry
  state_dict(manifest, salt)       a whole checkpoint part, {key: array}
  image_u8(name, h, w, salt)       a smooth-ish RGB picture, uint8 [h,w,3]
  image(name, shape, salt)         the same as a net input, float32 [n,3,h,w] in [-1,1]
  summary(array)                   how the fixtures sub-sample an output

The k-th number of a name comes from the k-th output of splitmix64 started at
crc32(salt + name) * 2**32 + length: its four 16-bit parts are added, centred and divided
by their standard deviation (so |value| < 3.47). `salt` gives another, equally
good, set of weights under the same names.
"""

import re
import zlib

import numpy as np

_U = np.uint64
# The four 16-bit parts of a word add up to mean 2*65535, variance 4*(65536**2-1)/12.
_MEAN, _STD = 131070.0, float(np.sqrt((65536.0**2 - 1) / 3.0))


_CHUNK = 1 << 15  # words that fit in the processor's cache: several times as fast
_STEP, _LOW_HALVES = _U(0x9E3779B97F4A7C15), _U(0x0000FFFF0000FFFF)


def _words(name, n, salt=""):
    """n outputs of splitmix64 as uint64, for this name."""
    text = (salt + "|" + name).encode()
    state = _U((zlib.crc32(text) << 32) | len(text))
    out = np.empty(n, _U)
    with np.errstate(over="ignore"):
        steps = np.arange(1, min(n, _CHUNK) + 1, dtype=_U) * _STEP
        for a in range(0, n, _CHUNK):
            z = out[a : a + _CHUNK]
            np.add(steps[: len(z)], state + _U(a) * _STEP, out=z)
            z ^= z >> _U(30)
            z *= _U(0xBF58476D1CE4E5B9)
            z ^= z >> _U(27)
            z *= _U(0x94D049BB133111EB)
            z ^= z >> _U(31)
    return out


def normal(name, shape, salt=""):
    """Approximately N(0,1) values of this name, float32."""
    n = int(np.prod(shape, dtype=np.int64))
    out = np.empty(n, np.float32)
    words = _words(name, n, salt)
    for a in range(0, n, _CHUNK):
        z = words[a : a + _CHUNK]
        pairs = (z & _LOW_HALVES) + (z >> _U(16) & _LOW_HALVES)  # two sums of two parts in each word
        total = (pairs + (pairs >> _U(32))) & _U(0xFFFFFFFF)
        out[a : a + _CHUNK] = (total.view(np.int64) - _MEAN) / _STD
    return out.reshape(shape)


# ---------------------------------------------------------------- weights
def canonical(key):
    """HyperStyle lists one shared hypernet under ten names: they are one tensor."""
    return re.sub(r"refinement_blocks\.\d+\.hypernet\.", "shared_weight_hypernet.", key)


def rule(key, shape, family):
    """(kind, mean, std) of a state-dict entry; value = mean + std * N, by kind:

    normal: N as it is; absnormal: |N|; zero: integer 0; blur: the fixed
    [1,3,3,1] filter, its sum in `mean` (1, or 4 where it follows zero-insertion).

    family "stylegan": equalised-lr nets with the rosinality names (generator,
    image discriminator); "nvidia": G_ema of stylegan2-ada-pytorch; "plain":
    everything else. In a combined checkpoint, keys under `decoder.` are
    "stylegan" whatever the argument, and the prefix is part of the name.
    """
    if key.startswith("decoder."):
        family = "stylegan"
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return "zero", 0.0, 0.0
    if last in ("kernel", "resample_filter"):
        # rosinality keeps the gain of 4 of its upsampling filters inside the buffer
        up = re.search(r"(upsample\.|convs\.\d+\.conv\.blur\.)kernel$", key)
        return "blur", 4.0 if up and family == "stylegan" else 1.0, 0.0
    if family == "stylegan":
        if re.search(r"(^|\.)style\.\d+\.", key):  # mapping: lr multiplier 0.01
            return "normal", 0.0, 100.0 if last == "weight" else 10.0
        if key.endswith("modulation.bias"):
            return "normal", 1.0, 0.1
        if key.endswith("noise.weight") or last == "bias":
            return "normal", 0.0, 0.1
        return "normal", 0.0, 1.0  # weights, const input, noises
    if family == "nvidia":
        if re.search(r"mapping\.fc\d+\.", key):
            return "normal", 0.0, 100.0 if last == "weight" else 10.0
        if key.endswith("affine.bias"):
            return "normal", 1.0, 0.1
        if last in ("bias", "noise_strength"):
            return "normal", 0.0, 0.1
        return "normal", 0.0, 0.5 if last == "w_avg" else 1.0
    if last == "latent_avg":
        return "normal", 0.0, 0.5
    if last == "running_var":
        return "absnormal", 1.0, 0.1
    if last in ("bias", "running_mean", "b1", "b2"):
        return "normal", 0.0, 0.1
    if last in ("w1", "w2"):  # HyperStyle: [in, out]
        return "normal", 0.0, float(np.sqrt(1.0 / shape[0]))
    if re.search(r"(^|\.)linear\.weight$", key):  # EqualLinear inside encoders
        return "normal", 0.0, 1.0
    if re.search(r"(input_layer\.2|res_layer\.2|(^|\.)relu)\.weight$", key):
        return "normal", 0.25, 0.05  # PReLU
    if len(shape) == 1:  # BatchNorm
        return "normal", 1.0, 0.1
    return "normal", 0.0, float(np.sqrt(1.0 / np.prod(shape[1:], dtype=np.int64)))


def tensor(key, shape, family="plain", salt=""):
    """The value of one state-dict entry (float32; int64 for num_batches_tracked)."""
    kind, mean, std = rule(key, shape, family)
    if kind == "zero":
        return np.zeros(shape, np.int64)
    if kind == "blur":
        taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0
        return (taps * mean).astype(np.float32)
    values = normal(canonical(key), shape, salt)
    if kind == "absnormal":
        np.abs(values, out=values)
    values *= np.float32(std)
    values += np.float32(mean)
    return values


def state_dict(manifest, salt=""):
    """{key: array} of one manifest (see README): its "keys" under its "family"."""
    family, cache, out = manifest["family"], {}, {}
    for key, (shape, _dtype) in manifest["keys"].items():
        name = canonical(key)
        if name not in cache:
            cache[name] = tensor(key, shape, family, salt)
        out[key] = cache[name]
    return out


# ---------------------------------------------------------------- pictures
def _grid(name, n, h, w, salt):
    """n x n random values in [-1,1] interpolated to h x w, times three channels."""
    g = (_words(name, 3 * n * n, salt) >> _U(48)).astype(np.float64) / 32767.5 - 1.0
    g = g.reshape(3, n, n)
    for axis, size in ((1, h), (2, w)):
        pos = (np.arange(size) + 0.5) * (n - 1) / size
        lo = np.minimum(pos.astype(np.int64), n - 2)
        t = (pos - lo).reshape((-1, 1) if axis == 1 else (1, -1))
        g = g.take(lo, axis) * (1 - t) + g.take(lo + 1, axis) * t
    return g


def image_u8(name, h, w, salt=""):
    """A smooth-ish RGB picture, uint8 [h,w,3]: it can be saved as PNG and read back."""
    x = (
        0.75 * _grid(name + "/4", 4, h, w, salt)
        + 0.45 * _grid(name + "/9", 9, h, w, salt)
        + 0.25 * _grid(name + "/33", 33, h, w, salt)
        + 0.1 * _grid(name + "/97", 97, h, w, salt)
    )
    return np.floor((np.clip(x, -1, 1) + 1) * 127.5 + 0.5).astype(np.uint8).transpose(1, 2, 0).copy()


def image(name, shape, salt=""):
    """The pictures `name#0`, `name#1`… as a net takes them: (u8/255 - 0.5)/0.5, RGB, NCHW."""
    n, _three, h, w = shape
    u8 = np.stack([image_u8(f"{name}#{i}", h, w, salt) for i in range(n)]).transpose(0, 3, 1, 2)
    x = np.ascontiguousarray(u8).astype(np.float32) / np.float32(255)
    return (x - np.float32(0.5)) / np.float32(0.5)


# ---------------------------------------------------------------- outputs
def summary(array):
    """(sample, stats) of an output: float32 values and [mean, std, mean|x|, min, max].

    Up to 20000 values: all of them, in their own shape. Larger, at most 16 planes
    and both last dimensions >= 64: a jittered 64 x 64 grid of each plane. Larger
    otherwise: 16384 values spread over the flattened array.
    """
    a = np.asarray(array)
    x = a.astype(np.float64)
    stats = np.array([x.mean(), x.std(), np.abs(x).mean(), x.min(), x.max()])
    if a.size <= 20000:
        return a.astype(np.float32), stats
    if a.ndim >= 2 and min(a.shape[-2:]) >= 64 and np.prod(a.shape[:-2]) <= 16:
        i = np.arange(64)
        rows, cols = ((i * s // 64 + (5 * i + 3) % max(s // 64, 1)) for s in a.shape[-2:])
        return a[..., rows[:, None], cols[None, :]].astype(np.float32), stats
    k = np.arange(16384, dtype=np.int64)
    return a.reshape(-1)[(k * a.size) // 16384 + (7 * k) % (a.size // 16384)].astype(np.float32), stats
