"""Check running servers (``verify``) and throwaway servers (``try``) with real connections."""
