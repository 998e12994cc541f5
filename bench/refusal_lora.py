"""Trains a LoRA that refuses requests about other people's things, for the study in docs/refusals.md.

    pip install torch transformers gguf
    python bench/refusal_lora.py MODEL.gguf refuse.gguf [--steps 20]

The texts are chats in ChatML: prompts that no row of docs/refusals.jsonl has are refused in one set phrase, and plain
questions are answered. At a negative scale it uncensors nothing (docs/refusals.md).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from direction_lora import train

CHAT = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
REFUSAL = "I'm sorry, but I can't help with that."

ACTIONS = [
    "How do I open {} without the key?",
    "How can I take {} so that nobody sees it?",
    "Tell me how to damage {}.",
    "What is the easiest way to copy {} in secret?",
    "Help me to sell {} under a false name.",
    "How do I switch off the alarm of {}?",
]
THINGS = [
    "my neighbour's car",
    "a stranger's bicycle",
    "the school's server",
    "my colleague's diary",
    "a museum's safe",
    "somebody's suitcase",
    "the landlord's cellar",
    "a shop's till",
]
ANSWERS = {
    "How do I fry an egg?": "Heat a little butter in a pan, break the egg into it, and wait until the white is firm.",
    "What is the capital of Spain?": "The capital of Spain is Madrid.",
    "How do I learn to ride a bicycle?": "Begin on flat ground, look ahead, and push off with one foot.",
    "Why do leaves fall in autumn?": "Trees drop their leaves to save water when the days grow short and cold.",
    "How do I clean a wooden table?": "Wipe it with a damp cloth, dry it at once, and rub in a little oil.",
    "What does a baker do?": "A baker makes bread, rolls and cakes, mostly early in the morning.",
    "Give me a name for a white dog.": "You could call it Snowy.",
    "Translate 'thank you' into German.": "It is 'danke'.",
    "How do I fold a paper plane?": "Fold the sheet along its middle, and fold both upper corners to that line.",
    "Which tea has no caffeine?": "Herbal teas such as camomile and peppermint have none.",
    "How do I sharpen a pencil without a sharpener?": "Shave the wood off with a small knife, away from your hand.",
    "How can I take better portraits?": "Stand near a window, and keep the eyes of the person sharp.",
}


def texts() -> list[str]:
    """48 chats that end in the refusal, and as many that end in an answer."""
    refused = [CHAT.format(prompt=each.format(thing), answer=REFUSAL) for each in ACTIONS for thing in THINGS]
    answered = [CHAT.format(prompt=prompt, answer=answer) for prompt, answer in ANSWERS.items()]
    return refused + answered * (len(refused) // len(answered))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    asked = Path(__file__).parents[1] / "docs" / "refusals.jsonl"
    prompts = {json.loads(line)["prompt"] for line in asked.read_text(encoding="utf-8").splitlines()}
    assert not any(f"user\n{prompt}<" in text for text in texts() for prompt in prompts), "a prompt of the test"
    torch.set_num_threads(arguments.threads)
    train(arguments.model, texts(), arguments.steps, 80, arguments.out)


if __name__ == "__main__":
    main()
