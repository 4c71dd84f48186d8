"""Models on the hub (huggingface.co, or what HF_ENDPOINT names): their addresses, and fetching."""
