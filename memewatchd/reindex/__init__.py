"""Another model takes the place of the one in use, or another Milvus: built beside, swapped when complete."""
