"""The nouns: frozen structs that every part of meshinfer speaks in. No behaviour beyond checks; no input or output."""
