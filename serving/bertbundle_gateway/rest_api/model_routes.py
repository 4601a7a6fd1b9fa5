"""The routes about models: which there are, and what is known about one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.rest_api.schemas import ErrorResponse
from bertbundle_gateway.rest_api.text_routes import STYLE
from bertbundle_gateway.web.json_documents import json_response
from bertbundle_gateway.web.model_documents import model_document, models_document
from bertbundle_gateway.web.routes import ApiContext, api_router

__all__ = ["model_router"]


class HeadInfo(BaseModel):
    """One of several heads of a model."""

    task: str
    labels: list[str]


class Model(BaseModel):
    """What is known about a model; `id`, `object`, `created` and `owned_by` are those of OpenAI's API."""

    id: str = Field(description="The name of the model in requests.")
    object: str = "model"
    created: int = Field(0, description="Always 0: it is not known.")
    owned_by: str = "bertbundle"
    task: str = Field("", description="The task; empty if the server of the model did not answer.")
    route: str = Field("", description="The end of the path that answers the task, as in `:entities`.")
    labels: list[str] = Field([], description="The labels of the task.")
    heads: dict[str, HeadInfo] = Field({}, description="The heads, if there are several.")
    max_length: int = Field(0, description="Maximum number of tokens of a text that is not split or truncated.")
    versions: list[dict[str, Any]] = Field([], description="The version numbers and their states.")
    error: str = Field("", description="Why nothing is known about the model.")


class ModelList(BaseModel):
    """The models, by name."""

    object: str = "list"
    data: list[Model]


def model_router(context: ApiContext) -> APIRouter:
    """Return the routes about models."""
    service, router = context.service, api_router(context, STYLE, tag="Models")
    errors: Mapping[int | str, Any] = {401: {"model": ErrorResponse}}

    @router.get(
        "/v1/models",
        summary="List the models",
        operation_id="models",
        responses={200: {"model": ModelList}, **errors},
    )
    async def models() -> Response:
        return json_response(await models_document(service))

    @router.get(
        "/v1/models/{model}:info",
        summary="Describe a model",
        operation_id="info",
        responses={200: {"model": Model}, 404: {"model": ErrorResponse}, **errors},
    )
    async def info(model: str) -> Response:
        return json_response(model_document(await service.describe(ModelRef(model))))

    return router
