"""Trains the family's tokenizer: byte-level BPE with Llama 3's split rule.

llama.cpp knows this combination as `tokenizer.ggml.model = gpt2`, `tokenizer.ggml.pre = llama-bpe`, and both sides
then agree on every text. Each category gives a fixed share of the training text, so that none of them starves.
"""

import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
BOS_ID, EOS_ID = 0, 1
VOCAB_SIZE = 3840

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SHARE_BYTES = {"prose": 4_000_000, "code": 3_500_000, "ru": 1_000_000, "ja": 1_200_000}
LANGUAGE_SHARE_BYTES = 600_000


def train(documents: dict[str, list[str]], out: Path) -> None:
    """Writes `out` (Hugging Face's `tokenizer.json`)."""
    sample = []
    for category, texts in documents.items():
        texts = list(texts)
        random.Random(category).shuffle(texts)
        left = SHARE_BYTES.get(category, LANGUAGE_SHARE_BYTES)
        for text in texts:
            if left <= 0:
                break
            sample.append(text)
            left -= len(text.encode())
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(BOS, special=True), AddedToken(EOS, special=True)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=16,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    assert (tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)) == (BOS_ID, EOS_ID)
    tokenizer.save(str(out))


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
