"""One tracking connection for all workers of a proxy.

One worker of them has the seat (`listening_seat`), a lock that the kernel frees when its holder
ends. It keeps the tracking connection and tells its siblings each word that it hears there
(`news_teller`), in the order in which it heard it. They follow it (`following`) and keep no
tracking connection. `shared_tracker` decides who does what, and when.

Who may believe what:

- A follower believes nothing until the listening worker says that it tracks. It is registered
  before that is said to it: whatever is heard from then on, it is told. It forgets all that it
  knew, so a change that fell between two listening workers is seen.
- A read goes over a connection of the follower's own, so its answer and the news of a change come
  in any order. That is as it was with a tracking connection for each worker, and is answered in the
  same place (`stores.cache.reads`): news of a change disowns the reads that are under way. A read
  that began before the news was told is not remembered; one that began after it sees the change,
  for Redis tells of a change only when it has made it.
- A follower believes what it knows for SILENT_AFTER seconds after a frame, and never for more than
  TRUSTED seconds after Redis has last spoken to the listening worker: each frame says when that
  was. So it does not matter which of the two stands still, or both one after the other.
- A connection to the listening worker that ends, for whatever reason, is as a tracking connection
  that is lost. A follower that reads too slowly is cut off, and so forgets everything.

Where any of this fails, a worker keeps a tracking connection of its own for some seconds, and then
tries again to share one. It goes on believing its own until it has heard that another one tracks.
"""
