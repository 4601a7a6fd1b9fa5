"""The arguments of the clients' methods."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import FakeTransport, Model, connect, make_manifest


def test_questions_need_contexts() -> None:
    """Lists of questions and contexts of different lengths raise TypeError."""
    client: Any = connect(FakeTransport(Model(make_manifest("question-answering"))))
    with pytest.raises(TypeError, match="two lists of str of the same length"):
        client.answer(["a", "b"], ["c"])
