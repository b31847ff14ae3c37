"""A short template and an output of every family, written for these tests, and what the output says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from selar_local.formats import Delta, Parsed, format_of

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "opts": {"type": "object", "properties": {"unit": {"type": "string"}, "tags": {"type": "array"}}},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
#: A string that could end a call, and its JSON. Every family's example has it, with a marker of its own for M.
TRICKY = 'a "b" \\ {M} é'
FIRST = {"city": TRICKY, "days": 3, "opts": {"unit": "c", "tags": [1, None]}}


class Example(NamedTuple):
    """`text` has a thinking where the family thinks, content "Look. " or "Look.", a call of `weather` and one of
    `now`. `marker` stands within the string argument, and `M` in the text is replaced by it."""

    name: str
    template: str
    tail: str
    text: str
    marker: str
    thinking: str = "why"
    ids: tuple[str | None, ...] = (None, None)
    content: str = "Look."


_JSON = '{"city": "a \\"b\\" \\\\ {M} é", "days": 3, "opts": {"unit": "c", "tags": [1, null]}}'
_RAW = 'a "b" \\ {M} é'
_OPTS = '{"unit": "c", "tags": [1, null]}'
_PY = "weather(city='a \"b\" \\\\ {M} é', days=3, opts={'unit': \"c\", 'tags': [1, None]}), now()"
_LIST = f'[{{"name": "weather", "arguments": {_JSON}}}, {{"name": "now", "arguments": {{}}}}]'
_BAR = "<｜tool▁call▁begin｜>"


def _dsml(space: str, name: str) -> str:
    d = f"｜DSML｜{space}"
    return (
        f'why</think>Look.\n\n<{d}{name}>\n<{d}invoke name="weather">\n'
        f'<{d}parameter name="city" string="true">{_RAW}</{d}parameter>\n'
        f'<{d}parameter name="days" string="false">3</{d}parameter>\n'
        f'<{d}parameter name="opts" string="false">{_OPTS}</{d}parameter>\n</{d}invoke>\n'
        f'<{d}invoke name="now">\n</{d}invoke>\n</{d}{name}>'
    )


def _tagged(start: str, end: str) -> str:
    return (
        f"\n{start}\n<function=weather>\n<parameter=city>\n{_RAW}\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        f"<parameter=opts>\n{_OPTS}\n</parameter>\n</function>\n{end}\n{start}\n<function=now>\n</function>\n{end}"
    )


def _glm(suffix: str, sep: str) -> str:
    s = suffix
    pairs = "".join(
        f"<arg_key{s}>{key}</arg_key{s}>\n<arg_value{s}>{value}</arg_value{s}>\n"
        for key, value in (("city", _RAW), ("days", "3"), ("opts", _OPTS))
    )
    return f"<tool_call{s}>weather{sep}\n{pairs}</tool_call{s}>\n<tool_call{s}>now{sep or chr(10)}</tool_call{s}>"


def _invoke(start: str, end: str, tag: str, key: str) -> str:
    return (
        f'{start}<{tag} name="weather">\n<{key} name="city">{_RAW}</{key}>\n<{key} name="days">3</{key}>\n'
        f'<{key} name="opts">{_OPTS}</{key}>\n</{tag}>\n<{tag} name="now">\n</{tag}>{end}'
    )


def _m3() -> str:
    t = "]<]minimax[>["
    return (
        f'<mm:think>why</mm:think>Look.\n{t}<tool_call>\n{t}<invoke name="weather">{t}<city>{_RAW}{t}</city>'
        f"{t}<days>3{t}</days>{t}<opts>{t}<unit>c{t}</unit>{t}<tags>{t}<item>1{t}</item>{t}<item>null{t}</item>"
        f'{t}</tags>{t}</opts>{t}</invoke>\n{t}<invoke name="now">{t}</invoke>\n{t}</tool_call>'
    )


def _k3() -> str:
    o, c, s = "<|open|>", "<|close|>", "<|sep|>"
    argument = "".join(
        f'{o}argument key="{key}" type="{kind}"{s}{value}{c}argument{s}'
        for key, kind, value in (("city", "string", _RAW), ("days", "number", "3"), ("opts", "object", _OPTS))
    )
    return (
        f'why{c}think{s}{o}response{s}Look.{c}response{s}{o}tools{s}{o}call tool="weather" index="1"{s}{argument}'
        f'{c}call{s}{o}call tool="now" index="2"{s}{c}call{s}{c}tools{s}{c}message{s}'
    )


def _messages(name: str, arguments: str) -> str:
    return f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}"


_TOOL_CALL = ("<tool_call>", "</tool_call>")
_THINK = "<think>\nwhy\n</think>\n\n"
_LLAMA = '<|start_header_id|>assistant<|end_header_id|>{"name": function name, "parameters": dictionary}<|python_tag|>'
EXAMPLES = [
    Example(
        "hermes",
        "<|im_start|> <tool_call>\\n{name, arguments}\\n</tool_call> <think>",
        "<|im_start|>assistant\n",
        f'{_THINK}Look.\n<tool_call>\n{{"name": "weather", "arguments": {_JSON}}}\n</tool_call>\n'
        '<tool_call>\n{"arguments": {}, "name": "now"}\n</tool_call>',
        "</tool_call>",
    ),
    Example(
        "qwen-coder",
        "<tool_call>\\n<function=example>\\n<parameter=key>\\n</think>",
        "<|im_start|>assistant\n<think>\n",
        f"why\n</think>\n\nLook.{_tagged(*_TOOL_CALL)}",
        "</parameter> and </function></tool_call>",
    ),
    Example(
        "seed-oss",
        "<seed:tool_call>\\n<function=example><parameter=key></seed:think>",
        "<seed:bos>assistant\n",
        f"<seed:think>why</seed:think>Look.{_tagged('<seed:tool_call>', '</seed:tool_call>')}",
        "</seed:tool_call>",
    ),
    Example(
        "glm", "<tool_call>{name}\\n<arg_key>{key}</arg_key></think>", "<|assistant|>",
        f"\n<think>why</think>\nLook.\n{_glm('', '')}", "</arg_value> or </tool_call>",
    ),
    Example(
        "hunyuan-3", "{%- set t = '<think{}>'.format(HYTK) %}{%- set a = '<arg_key{}>' %}", "<｜hy_Assistant｜>",
        "<think:opensource>why</think:opensource>Look.<tool_calls:opensource>\n"
        f"{_glm(':opensource', '<tool_sep:opensource>')}\n</tool_calls:opensource>",
        "</tool_call:opensource>",
    ),
    Example(
        "harmony", "<|start|>assistant<|channel|>analysis<|message|>", "<|start|>assistant",
        "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>commentary<|message|>Look.<|end|>"
        f"{_messages('weather', _JSON)}<|call|>{_messages('now', '{}')}",
        "<|call|><|start|>assistant<|channel|>final<|message|>",
    ),
    Example(
        "gemma-4", "<|turn>model <|channel>thought <channel|> <|tool_call>call:", "<|turn>model\n",
        '<|channel>thought\nwhy\n<channel|>Look.<|tool_call>call:weather{city:<|"|>a "b" \\ {M} é<|"|>,days:3,'
        'opts:{unit:<|"|>c<|"|>,tags:[1,null]}}<tool_call|><|tool_call>call:now{}<tool_call|>',
        "<tool_call|>",
    ),
    Example(
        "mistral", "[INST][/INST][TOOL_CALLS]name[CALL_ID]id[ARGS][THINK]", "[/INST]",
        f"[THINK]why[/THINK]Look.[TOOL_CALLS]weather[CALL_ID]abc123def[ARGS]{_JSON}[TOOL_CALLS]now[ARGS]{{}}",
        "[TOOL_CALLS]now[ARGS]", ids=("abc123def", None),
    ),
    Example(
        "mistral", "[INST][/INST][TOOL_CALLS] [list]", "[/INST]", f"Look.[TOOL_CALLS] {_LIST}", "[TOOL_CALLS]", ""
    ),
    Example(
        "deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function", "<｜Assistant｜><think>\n",
        f"why\n</think>\n\nLook.<｜tool▁calls▁begin｜>{_BAR}function<｜tool▁sep｜>weather\n```json\n{_JSON}\n```"
        f"<｜tool▁call▁end｜>\n{_BAR}function<｜tool▁sep｜>now\n```json\n{{}}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "```<｜tool▁call▁end｜>",
    ),
    Example(
        "deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "<｜Assistant｜></think>",
        f"Look.<｜tool▁calls▁begin｜>{_BAR}weather<｜tool▁sep｜>{_JSON}<｜tool▁call▁end｜>{_BAR}now<｜tool▁sep｜>{{}}"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "<｜tool▁calls▁end｜>", "",
    ),
    Example(
        "dsml", "{%- set dsml_token = '｜DSML｜' -%}", "<｜Assistant｜><think>", _dsml("", "function_calls"),
        "</｜DSML｜parameter>",
    ),
    Example(
        "dsml", "{%- set dsml_token = '｜DSML｜' -%}", "<｜Assistant｜><think>", _dsml("", "tool_calls"),
        "</｜DSML｜invoke>",
    ),
    Example(
        "dsml", "{%- set dsml_token = '｜DSML｜' -%}", "<｜Assistant｜><think>", _dsml(" ", "calls"),
        '<｜DSML｜ invoke name="now">',
    ),
    Example(
        "kimi-k2", "<|tool_calls_section_begin|></think>", "<|im_assistant|>assistant<|im_middle|><think>",
        "why</think>Look.<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>"
        f"{_JSON}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{{}}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        "<|tool_call_end|>", ids=("functions.weather:0", "functions.now:1"),
    ),
    Example("kimi-k3", "<|open|>message<|sep|><|close|>", "<|open|>think<|sep|>", _k3(), "<|close|>argument<|sep|>"),
    Example(
        "minimax-m2", "<minimax:tool_call>\\n<invoke name=</think>", "]~b]ai\n<think>\n",
        f"why\n</think>\n\nLook.\n{_invoke('<minimax:tool_call>', '</minimax:tool_call>', 'invoke', 'parameter')}",
        "</parameter> or </invoke>",
    ),
    Example("minimax-m3", "{%- set ns_token = ']<]minimax[>[' -%}", "]~b]ai\n", _m3(), "</city>"),
    Example(
        "minicpm-5", '<function name="f"><param name="p">v</param></function><think>', "assistant\n<think>\n",
        f"why\n</think>\n\nLook.\n{_invoke('', '', 'function', 'param')}", "</param> or </function>",
    ),
    Example(
        "lfm2", "<|tool_call_start|></think>", "<|im_start|>assistant\n",
        f"<think>why</think>Look.<|tool_call_start|>[{_PY}]<|tool_call_end|>", ")]<|tool_call_end|>",
    ),
    Example(
        "cohere", "<|START_ACTION|>[]<|END_ACTION|><|START_THINKING|>", "<|CHATBOT_TOKEN|><|START_THINKING|>",
        "why<|END_THINKING|><|START_TEXT|>Look.<|END_TEXT|><|START_ACTION|>[\n"
        f'    {{"tool_call_id": "0", "tool_name": "weather", "parameters": {_JSON}}},\n'
        '    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
        "<|END_ACTION|>", ids=("0", "1"),
    ),
    Example(
        "command-r", 'Action: ```json [{"tool_name": ..}]', "<|CHATBOT_TOKEN|>",
        f"Look.\nAction:\n```json\n{_LIST.replace('arguments', 'parameters').replace('name', 'tool_name')}\n```",
        "Action:", "",
    ),
    Example(
        "apertus", "'<|tools_prefix|>' '<|inner_prefix|>'", "<|assistant_start|>",
        f'<|inner_prefix|>why<|inner_suffix|>Look.<|tools_prefix|>[{{"weather": {_JSON}}}, {{"now": {{}}}}]'
        "<|tools_suffix|>",
        "<|tools_suffix|>",
    ),
    Example(
        "llama", _LLAMA, "<|end_header_id|>\n\n",
        f'{{"name": "weather", "parameters": {_JSON}}}; {{"type": "function", "name": "now", "parameters": {{}}}}',
        "<|python_tag|>", "", content="",
    ),
    Example(
        "llama", _LLAMA, "<|end_header_id|>\n\n",
        f'Look.<|python_tag|>{{"name": "weather", "parameters": {_JSON}}}\n{{"name": "now", "parameters": {{}}}}',
        "<|python_tag|>", "",
    ),
    Example(
        "llama-4", "<|header_start|>assistant<|header_end|>", "<|header_end|>\n\n", f"[{_PY}]", ")]", "", content=""
    ),
    Example(
        "granite", "granite <|tool_call|><think>", "<|end_of_role|>",
        f"{_THINK}Look.<|tool_call|>{_LIST}", "<|tool_call|>"
    ),
    Example(
        "granite", "granite <|tool_call|> after 'Here is my thought process:' and after 'Here is my response:'",
        "<|end_of_role|>",
        f"Here is my thought process:\nwhy\nHere is my response:\nLook.<|tool_call|>{_LIST}", "<|tool_call|>"
    ),
    Example(
        "nemotron-nano", "<TOOLCALL>[]</TOOLCALL><think>", "assistant\n<think>\n",
        f"why\n</think>\n\nLook.\n<TOOLCALL>{_LIST}</TOOLCALL>", "</TOOLCALL>",
    ),
    Example(
        "hunyuan", "<think></think><answer></answer>", "<|hy_Assistant|>",
        f"<think>\nwhy\n</think>\n<answer>\nLook.\n</answer>\n<tool_calls>{_LIST}</tool_calls>", "</tool_calls>",
    ),
    Example(
        "apriel", "Here are my reasoning steps: [BEGIN FINAL RESPONSE] <tool_calls>",
        "<|assistant|>\nHere are my reasoning steps:\n",
        f"why\n[BEGIN FINAL RESPONSE]\nLook.\n<tool_calls>{_LIST}</tool_calls>\n[END FINAL RESPONSE]", "</tool_calls>",
    ),
    Example(
        "tool-calls", '<tool_calls>\\n{"name": .., "arguments": ..}\\n</tool_calls>', "ai name=assistant\n",
        f'Look.\n<tool_calls>\n{{"name": "weather", "arguments": {_JSON}}}\n{{"name": "now", "arguments": {{}}}}\n'
        "</tool_calls>",
        "</tool_calls>", "",
    ),
    Example("phi", "<|tool|>{tools}<|/tool|>", "<|assistant|>", f"Look. functools{_LIST}", "functools[", "",
            content="Look. "),
    Example(
        "gigachat", "'<|function_call|>'", "assistant<|role_sep|>\n",
        f'Look.<|function_call|>{{"name": "weather", "arguments": {_JSON}}}'
        '<|function_call|>{"name": "now", "arguments": {}}',
        "<|function_call|>", "",
    ),
    Example(
        "functionary", "<|start_header_id|> <function=example>{}</function>", "<|end_header_id|>\n\n",
        f"Look.<function=weather>{_JSON}</function><function=now>{{}}</function>", "</function>", "",
    ),
    Example(
        "functionary-3.2", ">>>all\\n{content}", "<|end_header_id|>\n\n>>>",
        f"all\nLook.>>>weather\n{_JSON}>>>now\n{{}}", ">>>now", "",
    ),
    Example(
        "solar", "<|tool_call:begin|><|tool_call:name|>", "<|begin|>assistant",
        "<|think|>why<|end|><|begin|>assistant<|content|>Look.<|end|><|begin|>assistant<|tool_calls|>"
        f"<|tool_call:begin|>abc<|tool_call:name|>weather<|tool_call:args|>{_JSON}<|tool_call:end|>"
        "<|tool_call:begin|>def<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>",
        "<|tool_call:end|>", ids=("abc", "def"),
    ),
    Example(
        "muse", "<atem:function_calls>", "<|start|>assistant",
        " to=self<|message|>why<|eom|><|start|>assistant to=user<|message|>Look.<|eom|><|start|>assistant to=weather"
        f"<|message|>{_invoke('<atem:function_calls>', '</atem:function_calls>', 'atem:invoke', 'atem:parameter')}",
        "</atem:parameter>",
    ),
]  # fmt: skip
IDS = [f"{example.name}-{n}" for n, example in enumerate(EXAMPLES)]


def text_of(example: Example) -> str:
    """The output, with the family's marker in the string."""
    return example.text.replace("{M}", "{" + example.marker + "}")


def first_of(example: Example) -> dict[str, Any]:
    """The arguments of the first call."""
    return {**FIRST, "city": TRICKY.replace("{M}", "{" + example.marker + "}")}


def read(
    pieces: Sequence[str], template: str, tail: str = "", tools: list[dict[str, Any]] | None = TOOLS
) -> tuple[Parsed, list[Delta]]:
    """The parsed output and its deltas, neighbours of a kind joined. What the deltas say is what `finish` says."""
    reader = format_of(template).reader(tail, tools)
    deltas = [delta for piece in pieces for delta in reader.feed(piece)]
    parsed = reader.finish()
    joined: list[Delta] = []
    for delta in (*deltas, *parsed.rest):
        if joined and delta.kind in ("thinking", "content", "arguments") and joined[-1].kind == delta.kind:
            joined[-1] = joined[-1]._replace(text=joined[-1].text + delta.text)
        else:
            joined.append(delta)
    for kind, whole in (("thinking", parsed.thinking), ("content", parsed.content)):
        assert "".join(d.text for d in joined if d.kind == kind) == whole
    names = {d.call: d.text for d in joined if d.kind == "call"}
    arguments = {d.call: d.text for d in joined if d.kind == "arguments"}
    assert [(names[d.call], arguments[d.call], d.id) for d in joined if d.kind == "end"] == parsed.calls
    return parsed, joined
