"""The text API: text_service.proto, and the messages generated from it. Nothing else in the client uses them."""
