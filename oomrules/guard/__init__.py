"""The guard: takes a process by the administrator's own conditions, before memory has run out.

model      the plain data that goes from one to the next
figures    raw samples -> what conditions ask for
decision   samples, guards, the ready list, what is in flight -> what to do: no clock, no host
ready      a ranking -> the ready list, made beside the list for the kernel
growth     candidates that have grown since the list was made
sampling   the host -> samples, as often as memory could be gone
killing    a decision -> a signal, and whether the memory is back
watch      the thread that goes round: it waits for nobody
"""
