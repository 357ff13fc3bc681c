" `:make` finds mistakes, `gq` writes the one form.
setlocal commentstring=#\ %s comments=:# expandtab shiftwidth=4
setlocal makeprg=oomrules\ check\ --format\ concise\ %:S
setlocal errorformat=%f:%l:%c:\ %trror[%m,%f:%l:%c:\ %tarning[%m,%f:%l:%c:\ %tnfo[%m
setlocal formatprg=oomrules\ fmt\ -
