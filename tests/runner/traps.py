"""Traps of the agent SDK that decided the design. A test that shows one stopped carries its name as a marker."""

TRAPS = {
    "silent-transcript": "On a configuration folder that cannot be written, turns succeed and leave no transcript.",
    "damaged-transcript": "Of a transcript that has lost a part, the rest is taken up without a word.",
    "killed-turn": "A killed runner loses what it had not written of the turn.",
    "two-writers": "Two processes may resume one conversation, and the turns of one disappear.",
    "long-line": "A message of more than 1 MiB, such as a large picture, ends the session.",
    "other-sessions": "Sessions that share a folder for sockets can write to each other, whatever is allowed.",
    "idle-is-not-idle": "Crons, wake-ups and background tasks ask the model after the answer.",
    "limits-restart": "The CLI's own limits on money and turns begin anew with each process or prompt.",
    "unread-stream": "When nobody reads, an interrupt hangs after 100 messages.",
    "mention": "@path in a prompt puts any file that the user may read into the request.",
    "no-credential": "Without a credential the CLI asks nothing, or asks in vain.",
    "no-home": "Without HOME, under a user that has no entry, the CLI crashes.",
    "planted-files": "Instructions, settings, hooks, memory and servers are read from folders that an agent can write.",
    "inherited-environment": "The CLI and its shells get all that the runner's own environment has.",
}
