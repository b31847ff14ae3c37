"""Texts of 200,000 characters of one kind, under every pre-tokenizer that llama.cpp knows: no process may die.

    python scripts/long_runs.py [--length 200000] [--only tekken]

A tiny model of the tests is written for each pre-tokenizer; a process of its own tokenises the texts on a thread with a
small stack, as on macOS. Tokenised or refused is right, dead is wrong.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.tiny_gguf import write_tiny_gguf  # noqa: E402

#: From llama.cpp's llama-vocab.cpp.
NAMES = """
a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r dbrx deepseek-coder
deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4 f2llmv2 falcon falcon-h1 falcon3 gemma4
gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish granite-docling granite-embed-multi-311m granite-embed-multi-97m grok-2
hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-v5-nano
joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0
minerva-7b minicpm5 minimax-m2 modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe
seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2 starcoder superbpe talkie tekken tiny_aya trillion ufakzeka
viking whitespace youtu
"""
KINDS = (
    "a", "A", "aA", "中", "\n", " ", "\t", "\r\n", "1", "-", "é", "😀", "\u0301", "a\u0301", "'s", "<", "א", "0x",
    "!\n", "ー",
)  # fmt: skip
_WORK = """
import sys, threading
from pathlib import Path
from selar_local.config import EngineConfig
from selar_local.errors import OptionError
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.model import LlamaModel

path, length, *kinds = sys.argv[1:]
model = LlamaModel(open_gguf(Path(path)), EngineConfig())
refused = []

def work():
    for kind in kinds:
        text = (kind * int(length))[: int(length)]
        try:
            model.tokenize(text, special=True)
        except OptionError:
            refused.append(kind)
    print("alive", *refused)

threading.stack_size(512 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def verdict(name: str, length: int, folder: Path) -> str:
    """What became of the process: "alive" and the kinds it refused; "no such" where llama.cpp has no such name."""
    path = write_tiny_gguf(folder / "model.gguf", metadata={"tokenizer.ggml.pre": name})
    command = [sys.executable, "-c", _WORK, path, str(length), *KINDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if "unknown pre-tokenizer type" in done.stderr:
        return "no such"
    return done.stdout.strip() or f"exit code {done.returncode}: {done.stderr[-200:]}"


@click.command()
@click.option("--length", default=200_000, show_default=True)
@click.option("--only", help="one pre-tokenizer")
def main(length: int, only: str | None) -> None:
    """Tokenise the texts under each pre-tokenizer."""
    dead = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in (only or NAMES).split():
            said = verdict(name, length, Path(folder))
            dead += not said.startswith(("alive", "no such"))
            click.echo(f"{name:24} {said}")
    if dead:
        raise click.ClickException(f"{dead} of them died")


if __name__ == "__main__":
    main()
