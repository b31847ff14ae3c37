"""The symbol guard's vocabulary: digits, single ASCII letters, common mathematical and LaTeX symbols.

Which symbols count follows the authors' program (SeLaR, arXiv 2604.08299); as there, every id that
takes part in encoding one of them is guarded, so the pieces of a command such as ``\\frac`` are too.
"""

from __future__ import annotations

import string
from typing import Final
from weakref import WeakKeyDictionary

from selar_local.methods.base import Vocabulary

_PLAIN: Final = "+-*/^=<>()[]{}_|" + string.digits + string.ascii_letters
_COMMANDS: Final = """
    leq geq neq approx sim equiv to implies iff in notin subset supset subseteq supseteq cup cap
    emptyset varnothing pi theta alpha beta gamma delta epsilon zeta lambda mu nu
    sin cos tan cot cotg sec csc arcsin arccos arctan log ln exp sum prod int lim min max arg deg gcd
    frac dfrac sqrt sqrt[] binom choose cdot dots ldots cdots vdots ddots operatorname
    mathbb mathbf mathrm text mbox boxed overline underline infty circ prime ast star
    triangle triangleleft triangleright perp parallel angle lceil rceil lfloor rfloor
    left right left( right) left[ right] left\\{ right\\} mid vert Vert
    begin{pmatrix} end{pmatrix} because therefore forall exists wedge vee neg
"""
SYMBOLS: Final[tuple[str, ...]] = (*_PLAIN, *("\\" + command for command in _COMMANDS.split()))


_known: WeakKeyDictionary[Vocabulary, frozenset[int]] = WeakKeyDictionary()


def symbol_ids(vocabulary: Vocabulary) -> frozenset[int]:
    """All ids that occur in the encodings of `SYMBOLS`, each encoded alone.

    The vocabulary is asked once: 190 calls of a tokenizer for each request slow down requests that come together.
    """
    found = _known.get(vocabulary)
    if found is None:
        found = frozenset(token for symbol in SYMBOLS for token in vocabulary.encode(symbol))
        _known[vocabulary] = found
    return found
