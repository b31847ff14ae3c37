"""Damages tiny GGUF models in thousands of ways and shows that none of them kills the process.

    python scripts/fuzz_gguf.py --architecture gemma3 --mutations 2000 --seed 1

Every mutation runs in a forked child (POSIX only): reading the header, what the probe does, then loading, a context,
tokenising, decoding and detokenising. A child that dies in the probe's part is what the probe is for.
Prints a table of outcomes, and for each crash or hang the seed that makes it again (``--only SEED``). Exit status 1 if
there is one.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import importlib
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ["GGML_NO_BACKTRACE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gguf_mutations import Pieces, mutate, take_apart, with_sentencepiece
from llama_cpp import llama_cpp as C

from selar_local.errors import ModelFileError, ModelNotFound, UnsupportedModel
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.probe_process import LATE, STAGES, try_out

OUTCOMES = ["ran", "refused by us", "refused by llama.cpp", "NaN logits", "decode failed", "wrong exception"]
BAD = {"CRASH", "HANG", "wrong exception"}
TEXT = "Why is the sky blue? é—你😀 <|im_start|>user\n\n 12 \xa0\u200d x"
SECONDS, MEMORY = 20, 8 << 30


def use_model(path: Path) -> str:
    """Everything that is done to a model between opening and text. This is what the fuzzing is pointed at."""
    try:
        open_gguf(path)
    except (ModelFileError, ModelNotFound, UnsupportedModel) as error:
        if "\n" in str(error) or not str(error).startswith(path.name):
            raise AssertionError(f"not one line that begins with the file's name: {error!r}") from None
        print(error, file=sys.stderr)
        return "refused by us"
    try_out(C, str(path))
    model_params = C.llama_model_default_params()
    model_params.n_gpu_layers = 0
    # weights as they lie in the file: repacking sees only what was checked, and AMX faults in some virtual machines
    model_params.use_extra_bufts = False
    model = C.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        return "refused by llama.cpp"
    vocab = C.llama_model_get_vocab(model)
    params = C.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_threads, params.n_threads_batch = 64, 64, 1, 1
    context = C.llama_init_from_model(model, params)
    if not context:
        return "refused by llama.cpp"
    tokens = (C.llama_token * 256)()
    count = C.llama_tokenize(vocab, TEXT.encode(), len(TEXT.encode()), tokens, 256, True, True)
    outcome = decode(model, context, vocab, list(tokens)[: max(1, min(count, 48))])
    detokenise(vocab)
    return outcome


def decode(model: int, context: int, vocab: int, prompt: list[int]) -> str:
    """A prompt, two tokens, one embedding row."""
    size = C.llama_vocab_n_tokens(vocab)
    position, batch = 0, [token for token in prompt if 0 <= token < size] or [0]
    nan = False
    for _ in range(3):
        ids = (C.llama_token * len(batch))(*batch)
        if C.llama_decode(context, C.llama_batch_get_one(ids, len(batch))):
            return "decode failed"
        position += len(batch)
        logits = list(C.llama_get_logits_ith(context, -1)[:size])
        nan = nan or any(math.isnan(value) for value in logits)
        batch = [max(range(size), key=logits.__getitem__)]
    if C.llama_model_rope_type(model) not in (8, 40):
        width = C.llama_model_n_embd_inp(model)
        rows = C.llama_batch_init(1, width, 1)
        ctypes.memset(rows.embd, 0, 4 * width)
        rows.n_tokens, rows.pos[0], rows.n_seq_id[0], rows.seq_id[0][0], rows.logits[0] = 1, position, 1, 0, 1
        if C.llama_decode(context, rows):
            return "decode failed"
    return "NaN logits" if nan else "ran"


def detokenise(vocab: int) -> None:
    """Every token's text and attributes, and the special ids."""
    buffer = ctypes.create_string_buffer(4096)
    for token in range(C.llama_vocab_n_tokens(vocab)):
        for special in (True, False):
            C.llama_token_to_piece(vocab, token, buffer, 4096, 0, special)
        C.llama_vocab_is_eog(vocab, token)
        C.llama_vocab_is_control(vocab, token)
        C.llama_vocab_get_text(vocab, token)
    for special_id in (C.llama_vocab_bos, C.llama_vocab_eos, C.llama_vocab_eot, C.llama_vocab_nl):
        special_id(vocab)


def child(data: bytes, path: Path, log: Path) -> int:
    """Forks, uses the damaged model in the child, and returns the child's wait status."""
    path.write_bytes(data)
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        code = OUTCOMES.index(use_model(path))
    except BaseException:
        traceback.print_exc()
        code = OUTCOMES.index("wrong exception")
    sys.stderr.flush()
    os._exit(code)


def outcome_of(status: int, log: Path) -> str:
    """The class of a child's end."""
    stages = [line for line in log.read_text(errors="replace").splitlines() if line in STAGES]
    died = os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == LATE
    if died and stages and stages[-1] != "end":
        return "refused by the probe"
    if os.WIFSIGNALED(status):
        return "HANG" if os.WTERMSIG(status) == signal.SIGALRM else "CRASH"
    code = os.WEXITSTATUS(status)
    return OUTCOMES[code] if code < len(OUTCOMES) else "CRASH"


def reason(log: Path) -> str:
    """The line of a crashed child's output that says most."""
    lines = log.read_text(errors="replace").splitlines()
    telling = [
        line for line in lines if "GGML_ASSERT" in line or "what()" in line or ".cpp:" in line or "Error" in line
    ]
    return (telling or lines or ["(silent)"])[-1][-200:]


def fuzz(architecture: str, sentencepiece: bool, seeds: list[int], verbose: bool) -> collections.Counter[str]:
    """Runs one mutation per seed and counts the outcomes, printing each bad one."""
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        # by name, so that type checking the scripts does not reach into the tests
        write_tiny_gguf = importlib.import_module("tests.support.tiny_gguf").write_tiny_gguf
        path, log = Path(folder) / "model.gguf", Path(folder) / "log"
        sound: Pieces = take_apart(write_tiny_gguf(path, architecture=architecture, n_embd=32, n_ff=64))
        if sentencepiece:
            sound = with_sentencepiece(sound)
        if outcome_of(child(sound.pack()[0], path, log), log) != "ran":
            raise SystemExit(f"the sound {architecture} model does not run: {reason(log)}")
        for seed in seeds:
            data, what = mutate(sound, architecture, random.Random(seed))
            outcome = outcome_of(child(data, path, log), log)
            counts[outcome] += 1
            if outcome in BAD or verbose:
                print(f"{outcome}: {architecture} --only {seed}: {what}: {reason(log)}", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="llama", help="of the tiny model (llama, qwen2, qwen3, gemma3, ...)")
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="mutation i has the seed SEED * 1000000 + i")
    parser.add_argument("--only", type=int, help="run the one mutation with this seed")
    parser.add_argument("--sentencepiece", action="store_true", help="with a SentencePiece vocabulary instead of BPE")
    parser.add_argument("--verbose", action="store_true", help="print every mutation, not the bad ones alone")
    options = parser.parse_args()
    if not options.verbose:
        C.llama_log_set(SILENT, ctypes.c_void_p(0))
    C.llama_backend_init()
    start = time.perf_counter()
    first = options.seed * 1_000_000
    seeds = [options.only] if options.only is not None else list(range(first, first + options.mutations))
    counts = fuzz(options.architecture, options.sentencepiece, seeds, options.verbose)
    for outcome, count in counts.most_common():
        print(f"{count:7d}  {outcome}")
    print(f"{sum(counts.values()):7d}  mutations of {options.architecture} in {time.perf_counter() - start:.0f} s")
    return 1 if BAD & set(counts) else 0


@C.llama_log_callback  # type: ignore[untyped-decorator]
def SILENT(_level: int, _text: bytes, _data: object) -> None:
    """Drops llama.cpp's log; what ggml prints when it aborts still reaches stderr."""


if __name__ == "__main__":
    raise SystemExit(main())
