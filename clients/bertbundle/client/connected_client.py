"""Create a client from an address and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

from bertbundle._shared.validation import check_counts, check_seconds, check_type
from bertbundle.client.base import BaseClient
from bertbundle.client.rollout import RolloutCounts, RolloutPlan, Shadow, check_version
from bertbundle.client.single_task import TransportT
from bertbundle.contract.manifest import TOKENIZER_FILE, Manifest
from bertbundle.decoding.loaded_model import LoadedModel, load_model
from bertbundle.errors import InputError, ManifestError
from bertbundle.session.batches import CallSettings
from bertbundle.session.retries import CallPolicy, Retries, RetryBudget
from bertbundle.session.session import Session
from bertbundle.text.added_tokens import recognize_added_tokens
from bertbundle.transports.credentials import Tls, Token

__all__ = ["ConnectedClient"]


class ConnectedClient(BaseClient[TransportT]):
    """A client of one model at an address. Subclasses choose the transport and the runner."""

    _open_transport: ClassVar[Callable[..., Any]]
    _make_runner: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        server: str,
        model: str,
        *,
        version: int | str | None = None,
        canary: tuple[int | str, float] | None = None,
        shadow: int | str | Shadow | None = None,
        timeout: float = 30.0,
        call_timeout: float | None = None,
        hedge_after: float | None = None,
        concurrency: int = 4,
        rows_per_call: int = 32,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        compression: str = "none",
        transport: TransportT | None = None,
        manifest: Manifest | None = None,
        tokenizer: str | Path | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Create a client; it connects on the first request.

        Args:
            server: address of the gRPC port, ``host:port`` or ``unix:path``, or several of them separated by commas.
                Requests are distributed over all addresses, and over all servers behind a name.
            model: model name.
            version: version number, or version label such as "stable", to ask; None for the newest version.
            canary: a version or label, and the share of method calls that it answers, for example ``("canary", 0.05)``.
                If the server does not have it, `version` answers.
            shadow: a version or label, or a `Shadow`, to which method calls are copied in the background. Its results
                are compared with those of `version` and dropped; `rollout` has the counts.
            timeout: timeout of a method call in seconds, including all of its requests and retries; for an iterator, of
                each 2048 texts.
            call_timeout: timeout of one attempt of a request in seconds, after which it is retried; None for the time
                that remains of `timeout`.
            hedge_after: seconds after which a request without a response is sent a second time, to the next address;
                None for never. The first response is used, and the other request is cancelled. Each hedge takes one
                retry from the budget of `retries`, and is not limited by `concurrency`. A good value is the 95th
                percentile of the latency.
            concurrency: maximum number of in-flight requests.
            rows_per_call: maximum number of rows in a request.
            retries: when a failed request is retried.
            tls: how to secure the connection; None for plain text.
            token: bearer token, or a callable that returns the current token.
            metadata: names and values that are sent with each request.
            compression: compression of requests: "none", "gzip" or "deflate".
            transport: the transport to use, instead of gRPC to `server`.
            manifest: description of a model that is not a bundle; see `foreign_manifest`.
            tokenizer: tokenizer.json of a model that is not a bundle, or the directory that contains it.
            names: the model's own names of its signature, inputs and outputs, by their names in a bundle, for example
                ``{"input_ids": "input_word_ids"}``.
        """
        check_type("model", model, str, "the model's name")
        check_type("timeout", timeout, Real, "a number of seconds")
        check_type("retries", retries, Retries, "a Retries object, for example Retries(attempts=1) for no retries")
        check_seconds(timeout=timeout, call_timeout=call_timeout, hedge_after=hedge_after)
        check_counts(concurrency=concurrency, rows_per_call=rows_per_call)
        external = _external_model(manifest, tokenizer)
        _check_names(external, names or {})
        settings = CallSettings(model, names or {}, rows_per_call, version)
        check_version("version", version, transport)
        channel = {"tls": tls, "token": token, "metadata": metadata, "compression": compression}
        connection = transport or self._open_transport(server, **channel)
        policy = CallPolicy(retries, RetryBudget(retries.budget), call_timeout, hedge_after)
        runner = self._make_runner(connection, policy, timeout=timeout, concurrency=concurrency)
        super().__init__(Session(settings, external), runner)
        if canary is not None or shadow is not None:
            plan = RolloutPlan(settings, external, transport, server, channel, timeout)
            self._rollout = plan.make(canary, shadow)

    @property
    def rollout(self) -> RolloutCounts:
        """The counts of `canary` and `shadow` so far.

        >>> client.rollout.disagreed
        0
        """
        return self._rollout.counts() if self._rollout else RolloutCounts()


_HINT = "To convert a vocab.txt: tokenizers.BertWordPieceTokenizer('vocab.txt').save('tokenizer.json')."


def _external_model(manifest: Manifest | None, tokenizer: str | Path | None) -> LoadedModel | None:
    """Load a model that is not a bundle from the caller's description; None for a bundle."""
    if (manifest is None) != (tokenizer is None):
        raise ValueError(
            "manifest and tokenizer go together: pass both for a model that is not a bundle, otherwise neither"
        )
    if manifest is None or tokenizer is None:
        return None
    path = Path(tokenizer)
    path = path / TOKENIZER_FILE if path.is_dir() else path
    try:
        loaded = load_model(manifest, _with_added_tokens(path.read_text(encoding="utf-8"), manifest), version=0)
        _check_padding(loaded)
        return loaded
    except OSError as error:
        raise InputError(f"the tokenizer {path} cannot be read: {error.strerror}. {_HINT}") from error
    except ManifestError as error:
        raise InputError(f"{path}: {error} {_HINT}") from error


def _check_padding(model: LoadedModel) -> None:
    """Check the id of padding for a model that has no mask: it takes the tokens with this id for padding.

    Raises:
        ValueError: the tokenizer has a padding token with another id.
    """
    pad_ids = {spec.name: spec.pad_value for spec in model.manifest.inputs}
    found = None if "attention_mask" in pad_ids else model.tokenizer.padding_id
    pad_id = pad_ids.get("input_ids")
    if found not in (None, pad_id):
        raise ValueError(
            f"pad_id is {pad_id}, the tokenizer's padding token has the id {found}: a model without "
            "attention_mask would not know the padding. Pass it as pad_id= to foreign_manifest"
        )


def _check_names(model: LoadedModel | None, names: Mapping[str, str]) -> None:
    """Check that the caller's names are those of a described model.

    Raises:
        ValueError: one is of no signature, input or output of the model, so that it would have no effect.
    """
    if model is None:
        return
    manifest = model.manifest
    tensors = [spec.name for spec in manifest.inputs] + [spec.name for spec in manifest.outputs]
    known = [*manifest.signatures, *tensors]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"names has {', '.join(unknown)}, which the manifest has not: it has {', '.join(known)}")


def _with_added_tokens(definition: str, manifest: Manifest) -> str:
    """Return a tokenizer that recognizes added tokens in a text, as a bundle's does.

    Raises:
        ManifestError: not a tokenizer definition.
    """
    if manifest.word_segmenter is not None:
        return definition  # of a bundle, where the choice was made
    pad_ids = [spec.pad_value for spec in manifest.inputs if spec.name == "input_ids"]
    try:
        return recognize_added_tokens(definition, pad_id=next(iter(pad_ids), 0))[0]
    except Exception as error:  # tokenizers raises plain Exception for a malformed file
        raise ManifestError(f"{TOKENIZER_FILE} cannot be read: {error}.") from error
