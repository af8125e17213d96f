"""A local Pinecone for the official SDK: REST data plane and control plane, eventually consistent, durable."""
