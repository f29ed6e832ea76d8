"""The index: what Milvus holds. The only room that imports pymilvus, and only when an engine is opened."""
