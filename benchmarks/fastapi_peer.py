"""sentence-transformers behind the simplest FastAPI app that people write: the peer of embeddings_route.py.

python benchmarks/fastapi_peer.py MODEL PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(sys.argv[1], device="cpu")


class Request(BaseModel):
    """The fields of OpenAI's request that people use."""

    model: str
    input: list[str]


@app.post("/v1/embeddings")
def embeddings(request: Request) -> dict[str, Any]:
    """Embed texts; FastAPI calls it in a thread."""
    vectors = model.encode(request.input)
    data = [
        {"object": "embedding", "index": index, "embedding": vector.tolist()} for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "model": request.model, "data": data}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
