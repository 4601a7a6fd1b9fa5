"""The text API over REST: routes, request bodies, errors, the OpenAPI document and its page."""
