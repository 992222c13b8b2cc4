"""The tokenizer of a language model, as one tokenizer.json that the package ``tokenizers`` and all runtimes read.

A tokenizer that comes with a model is not believed: it has to give back a text that it takes apart, and its tokens
have to be rows of the embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.core.bounded_reading import read_text
from compress.core.installation import imported
from compress.errors import NetworkError
from compress.language.beginning import begin_with
from compress.language.config import read_json
from compress.language.fields import Fields
from compress.language.gguf_file import GgufFile
from compress.language.gguf_tokenizer import gguf_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from compress.language.weights import LanguageModel

FILE = "tokenizer.json"

#: Text that every tokenizer has to give back: words, digits, signs and lines, in ASCII alone.
SAMPLE = "The quick brown fox, aged 1234.5 years, jumps over it's 2 lazy dogs:\n  (a+b) * c != d?\nYes."

_MOST_BYTES, _MOST_TEMPLATE = 256 << 20, 1 << 20
_FROM_SENTENCEPIECE = (
    "write one: AutoTokenizer.from_pretrained(directory).save_pretrained(directory), of transformers"
)


def open_tokenizer(model: LanguageModel) -> Tokenizer:
    """Read the tokenizer of a model, from its directory or its GGUF file, and check it.

    Raises:
        NetworkError: There is none, or it is damaged, does not give back a text, or has tokens without an embedding.
        UnavailableError: The package ``tokenizers`` is not installed.
    """
    check_installed()
    is_directory = model.path.is_dir()
    where = str(model.path / FILE if is_directory else model.path)
    tokenizer = read_tokenizer(model.path) if is_directory else gguf_tokenizer(GgufFile(model.path))
    check_tokens(tokenizer, model.config.vocabulary, where)
    if not gives_back(tokenizer, SAMPLE):
        raise NetworkError(
            "a tokenizer that gives back the text that it takes apart",
            f"{where}: {back(tokenizer, SAMPLE)[:80]!r} for {SAMPLE[:40]!r}…",
            "get the tokenizer of this very model",
        )
    return tokenizer


def chat_template(model: LanguageModel) -> str | None:
    """Return the template by which a conversation becomes a prompt, in Jinja; None where the model has none.

    It is read as a text. To render it runs what is in it: do that in a sandbox, as runtimes do.

    Raises:
        NetworkError: The file that holds it is damaged.
    """
    if not model.path.is_dir():
        fields, name = Fields(GgufFile(model.path).metadata, str(model.path)), "tokenizer.chat_template"
        return fields.text(name) if fields.has(name) else None
    template_file, config = model.path / "chat_template.jinja", model.path / "tokenizer_config.json"
    if template_file.is_file():
        try:
            return read_text(template_file, _MOST_TEMPLATE)
        except (OSError, ValueError) as error:
            raise NetworkError(
                "a template of conversations", f"{template_file}: {error}", "get the model again"
            ) from error
    fields = read_json(config) if config.is_file() else Fields({}, "")
    template = fields.values.get("chat_template")
    if isinstance(template, list):  # several by name, of which one is for conversations
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and not isinstance(template, str):
        raise fields.wrong("chat_template", "a text")
    return template


def check_tokens(tokenizer: Tokenizer, vocabulary: int, where: str) -> None:
    """Refuse a tokenizer with a token whose id the embedding has no row for.

    Raises:
        NetworkError: It has one.
    """
    token, number = max(
        tokenizer.get_vocab(with_added_tokens=True).items(),
        key=lambda token_and_id: token_and_id[1],
        default=("", -1),
    )
    if number >= vocabulary:
        raise NetworkError(
            f"tokens below {vocabulary}, the number of rows of the embedding",
            f"{where}: {token!r} is token {number}",
            "get the tokenizer of this very model",
        )


def back(tokenizer: Tokenizer, text: str) -> str:
    """Return what a tokenizer makes of the tokens of a text, without tokens that it adds."""
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    return str(tokenizer.decode(tokens, skip_special_tokens=False))


def gives_back(tokenizer: Tokenizer, text: str) -> bool:
    """Whether a tokenizer gives back a text that it takes apart; a space before it does not count."""
    return back(tokenizer, text).removeprefix(" ") == text.removeprefix(" ")


def read_tokenizer(directory: Path) -> Tokenizer:
    """Read the tokenizer of a directory, with the token that begins a text where the directory wants it.

    Raises:
        NetworkError: There is none, or it is damaged.
        UnavailableError: The package ``tokenizers`` is not installed.
    """
    check_installed()
    from tokenizers import Tokenizer

    path = directory / FILE
    if not path.is_file():
        other = (directory / "tokenizer.model").is_file()
        problem = f"{directory}: tokenizer.model alone" if other else f"{path}: no such file"
        todo = _FROM_SENTENCEPIECE if other else "get the whole directory of the model"
        raise NetworkError(f"a {FILE}", problem, todo)
    try:
        tokenizer = Tokenizer.from_str(read_text(path, _MOST_BYTES))
    except Exception as error:  # the package raises plain exceptions
        raise NetworkError(f"a {FILE}", f"{path}: {error}", "get the model again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _add_beginning(tokenizer, directory)
    return tokenizer


def _add_beginning(tokenizer: Tokenizer, directory: Path) -> None:
    """Add the token that begins a text, where tokenizer_config.json wants it and tokenizer.json does not add it."""
    path = directory / "tokenizer_config.json"
    if not path.is_file():
        return
    fields = read_json(path)
    if not fields.flag("add_bos_token", False):
        return
    named: Any = fields.values.get("bos_token")
    token = named.get("content") if isinstance(named, dict) else named
    number = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if not isinstance(token, str) or number is None:
        raise fields.wrong("bos_token", "a token of the vocabulary, which 'add_bos_token' asks for,")
    if tokenizer.encode("a").ids[:1] != [number]:
        begin_with(tokenizer, token, number)


def check_installed() -> None:
    """Refuse to go on without the package ``tokenizers``.

    Raises:
        UnavailableError: It is not installed.
    """
    imported("tokenizers", "language")
