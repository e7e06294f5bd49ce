"""Parts of speech of captions, as in HumanML3D's text files: `tagger`, by `lexicon` and the base `forms` of words."""
