"""A few hundred texts of every kind, on which two tokenizers are held against each other. Fixed, so that refusals are too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "I don't think it's worth $12.50, but they'll say we've won!",
    "Dr. Smith's e-mail (smith@example.org) wasn't answered; see https://example.org/a?b=c&d=1#top.",
    "Größe, Straße, Ärger und Übermut – „schön“ gesagt.",
    "L'été, c'est déjà l'automne à Besançon où naïvement…",
    "¿Cómo estás, señor? ¡Muy bien!",
    "Zażółć gęślą jaźń",
    "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "İstanbul'da IĞDIR ve ışık",
    "Ăn phở ở Hà Nội, tiếng Việt có dấu",
    "Съешь ещё этих мягких французских булок, да выпей чаю",
    "Η γρήγορη καφέ αλεπού ΣΟΦΟΣ",
    "שלום עולם, מה שלומך?",
    "مرحبا بالعالم، كيف حالك؟",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก ภาษาไทยไม่เว้นวรรค",
    "안녕하세요 세계, 한국어입니다",
    "こんにちは世界、カタカナとひらがなと漢字",
    "你好，世界！今天天气很好。",
    "混合 mixed テキスト with 中文 and English 123",
    "გამარჯობა მსოფლიო",
    "Բարեւ աշխարհ",
    "வணக்கம் உலகம்",
    "ሰላም ልዑል",
    "😀 emoji 👍🏽 family 👨‍👩‍👧‍👦 flag 🇩🇪 heart ❤️",
    "Math: ∑ α² ≤ ∞, ½ cup, x₁ → y, 3×4÷2",
    "combining e\u0301 and é, fi ligature, ｆｕｌｌｗｉｄｔｈ, ①②",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break \ufeffmark",
    "tab\tnew\nline\r\nreturn  two   spaces",
    "control \x07 and nul \x00 and delete \x7f",
    "\ufffd damaged, private \ue000",
    '<p class="x">html &amp; entities</p> <br/>',
    "def f(x): return {'a': [1, 2, x_y]}  # code",
    "SHOUTING IN CAPITALS AND camelCaseWords snake_case_words",
    "1234567890 3.14159 1,000,000 10% 2024-01-31 12:34:56 +49-89-123456",
    "a.b,c;d:e!f?g(h)i[j]k{l}m\"n'o`p~q@r#s$t%u^v&w*x-y_z=+|\\/<>",
    "... --- ___ *** !!! ??? «quotes» “curly” ‘single’",
    "#hashtag @user RT: so cooool!!! :-) xD lol",
    "Donaudampfschifffahrtsgesellschaftskapitän antidisestablishmentarianism",
    "one two three four five six seven eight nine ten",
    "x",
    "I",
    "ab",
    "42",
    "-",
    ".",
    "é",
    "中",
    "😀",
    "  leading and trailing  ",
    "\n",
    " ",
    "",
)

PROBES: tuple[str, ...] = (
    *_SENTENCES,
    *(text.upper() for text in _SENTENCES[:30]),
    *(text.lower() for text in _SENTENCES[:30]),
    *(text.title() for text in _SENTENCES[:12]),
    *(f" {text}" for text in _SENTENCES[:30]),
    *(f"{text}\n{after}" for text, after in pairwise(_SENTENCES)),
    *(word for text in _SENTENCES[:40] for word in text.split()[:2]),
    *(chr(0x1F600 + number) for number in range(16)),
    *(f"{word}{number}" for number, word in enumerate(_SENTENCES[0].split())),
    " ".join(_SENTENCES),
    "word " * 600,
    "x" * 500,
    "!" * 100,
)
"""Scripts, letter cases, numbers, marks, blanks, pictures, code, nothing at all, and long ones."""


def around(tokens: Sequence[str]) -> list[str]:
    """Texts in which a model's added tokens stand: alone, between words, glued to them, and in other letters."""
    forms = ("{}", "a word {} and another", "word{}word, {}.", "{}{}")
    found = [form.replace("{}", token) for token in tokens for form in forms]
    return [*found, *(token.lower() for token in tokens), *(token.upper() for token in tokens)]
