"""The provider contract and one module a provider."""
