autocmd BufNewFile,BufRead *.oom setfiletype oomrules
