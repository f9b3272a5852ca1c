"""Stories that other proxies keep: a question to all workers of the store, and their answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from ..config.structs import Config
from ..stores import driver_of
from ..stores.questions import Questions
from .rings import own_and_left
from .stories import Kind, Story
from .telling import is_of

WITHIN = 2.0
"""Seconds that the workers have to answer."""
MAX_REPLY = 32_000
"""Bytes of one worker's stories, the latest of those that were asked for."""


class StoryQuestion(msgspec.Struct, omit_defaults=True):
    """Which stories are asked for."""

    id: str = ""
    """One request; empty: those that failed."""
    host: str | None = None
    since: float = 0.0
    """Unix seconds."""
    last: int = 50
    """At most as many of each worker."""


class StoryAnswer(msgspec.Struct):
    """What is known of them."""

    stories: list[Story]
    answered: int
    """Workers that answered."""
    silent: int
    """Workers that did not, in time."""

    @property
    def unheard(self) -> str:
        """Words for those that did not; empty if all did."""
        return (
            f"{self.silent} worker{'s' * (self.silent > 1)} did not answer" if self.silent else ""
        )


def answer_questions(questions: Questions | None, folder: Path) -> None:
    """Let this worker answer from what it keeps in `folder`, and what ended ones left there."""
    if questions is not None:

        async def answer(text: str) -> str:
            return await asyncio.to_thread(_answer, folder, text)

        questions.answer_with(answer)


async def ask_others(config: Config, question: StoryQuestion) -> StoryAnswer | None:
    """Ask all workers that share the store; None where it cannot carry a question.

    Raises ConfigError, StoreUnavailable.
    """
    inquiry = driver_of(config).inquiry(timeout=config.server.store_timeout or None)
    if inquiry is None:
        return None
    try:
        text = msgspec.json.encode(question).decode()
        replies = await inquiry.ask(text, seconds=WITHIN)
    finally:
        await inquiry.aclose()
    found: dict[tuple[str, float], Story] = {}
    for each in replies.texts:
        try:
            told = msgspec.json.decode(each, type=list[Story])
        except msgspec.MsgspecError:
            continue  # of a release that tells it in another way
        found |= {(story.id, story.at): story for story in told}
    stories = sorted(found.values(), key=lambda story: story.at)
    return StoryAnswer(stories, replies.answered, replies.silent)


def _answer(folder: Path, text: str) -> str:
    try:
        question = msgspec.json.decode(text, type=StoryQuestion)
    except msgspec.MsgspecError:
        return ""
    found = _wanted(folder, question)
    while found and len(reply := msgspec.json.encode(found)) > MAX_REPLY:
        found = found[len(found) // 2 + 1 :]
    return reply.decode() if found else ""


def _wanted(folder: Path, question: StoryQuestion) -> list[Story]:
    if question.id:
        kept = own_and_left(folder, tuple(Kind), holding=question.id)
        return [story for story in kept if story.id == question.id]
    kept = own_and_left(folder, (Kind.FAILED, Kind.REFUSED))
    wanted = [
        story
        for story in kept
        if story.at >= question.since and (not question.host or is_of(story, question.host))
    ]
    return wanted[-question.last :] if question.last > 0 else []
