version=2
rule=:LEEF:2.0|%vendor:char-to:|%|%product:char-to:|%|%version:char-to:|%|%id:char-to:|%|x09|%{"name":"members","type":"repeat","parser":[{"type":"char-to","name":"key","extradata":"="},{"type":"literal","text":"="},{"type":"char-sep","name":"value","extradata":"\t"}],"while":[{"type":"literal","text":"\t"}]}%
rule=:%cef:cef%
