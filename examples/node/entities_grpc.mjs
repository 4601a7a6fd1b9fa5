// Entities over gRPC, with a stub that is made from the .proto file at run time:
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node examples/node/entities_grpc.mjs localhost:8600 ner "Alex Rivera lives in Springfield." [DIRECTORY]
// DIRECTORY contains bertbundle/text/v1/text_service.proto; it is clients/ in this project.
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [address, model, text, directory = "clients"] = process.argv.slice(2);

const definition = protoLoader.loadSync("bertbundle/text/v1/text_service.proto", { includeDirs: [directory] });
const { TextService } = grpc.loadPackageDefinition(definition).bertbundle.text.v1;
const client = new TextService(address, grpc.credentials.createInsecure());

client.findEntities({ model: { name: model }, texts: [text] }, { deadline: Date.now() + 30_000 }, (error, response) => {
  if (error) throw error;
  for (const { label, span, score } of response.results[0].entities.entities) {
    console.log(label, text.slice(span.utf16Start, span.utf16End), score.toFixed(2)); // JavaScript counts in UTF-16
  }
  client.close();
});
