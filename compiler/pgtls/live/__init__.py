"""The wire: running servers, and throwaway ones. What is compiled, tried and seen on real connections."""
