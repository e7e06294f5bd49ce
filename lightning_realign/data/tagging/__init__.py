"""Parts of speech of captions, as HumanML3D's text files have them."""
